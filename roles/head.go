package roles

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"eucad/hyper/disk"
	"eucad/roles/frontend"
	"eucad/store/cloud"
)

// runFrontEnd plays a front end whose nodes are all elsewhere.
func runFrontEnd(ctx context.Context, c Config) (err error) {
	if c.PeerListen == "" {
		c.PeerListen = "0.0.0.0:8774"
	}
	images, err := disk.OpenStore(disk.StoreOptions{Dir: filepath.Join(c.Dir, "images")})
	if err != nil {
		return err
	}
	name, err := nodeName(c.Dir)
	if err != nil {
		return err
	}
	elsewhere := func(context.Context, cloud.Instance) ([]byte, time.Time, error) {
		return nil, time.Time{}, frontend.ErrNotHere
	}
	f, err := openFrontEnd(ctx, c, frontend.Options{Name: name, Console: elsewhere, Import: importTo(images), ImagePath: images.Path})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Run(ctx)
}
