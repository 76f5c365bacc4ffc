package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	golibvirt "github.com/digitalocean/go-libvirt"

	"eucad/hyper"
)

// Remove stops the machine at once and deletes all that was made for it; see
// hyper.Driver.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if err := hyper.CheckID(id); err != nil {
		return err
	}
	unlock, err := d.locks.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	r := d.record(id)
	dom, running, err := d.find(ctx, id, r.machine.Machine.UUID)
	if err != nil {
		return err
	}
	if running {
		err := d.signal(ctx, id, "stop", func(l *golibvirt.Libvirt) error { return l.DomainDestroyFlags(dom, 0) })
		if err != nil {
			return err
		}
	}
	return d.erase(r)
}

// erase deletes what was made for a machine that doesn't run.
func (d *Driver) erase(r record) error {
	id := r.machine.Machine.ID
	d.mu.Lock()
	delete(d.recs, id)
	delete(d.hints, id)
	delete(d.asked, id)
	d.mu.Unlock()
	var errs []error
	for _, path := range r.machine.Made {
		for _, p := range []string{path, path + ".new"} {
			if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	logs, _ := filepath.Glob(filepath.Join(d.logDir, id+".log*"))
	for _, path := range logs {
		os.Remove(path) // libvirt's own, of no use to anyone now
	}
	if err := errors.Join(append(errs, os.RemoveAll(d.machineDir(id)))...); err != nil {
		return fmt.Errorf("remove machine %s: %w", id, err)
	}
	return nil
}
