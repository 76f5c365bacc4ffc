package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"syscall"

	"eucad/api/admin"
)

// A client talks to the eucad that runs in a directory on this host.
type client struct {
	dir  string
	http *http.Client
}

func newClient(dir string) *client {
	sock := filepath.Join(dir, "eucad.sock")
	return &client{dir, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", sock)
		},
	}}}
}

// do sends a request and returns the answer's body, or what the answer says went wrong.
func (c *client) do(ctx context.Context, method, path string, body io.Reader, length int64) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://eucad"+path, body)
	if err != nil {
		return nil, err
	}
	if length > 0 {
		r.ContentLength = length
	}
	resp, err := c.http.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no eucad runs in %s; start one with: eucad --role all", c.dir)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("eucad in %s obeys only its own user; try as root", c.dir)
	case err != nil:
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		e := &admin.Error{}
		if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(e); err != nil || e.Message == "" {
			return nil, fmt.Errorf("eucad answered %s", resp.Status)
		}
		return nil, e
	}
	return resp.Body, nil
}

// call sends a request without a body and reads the JSON answer into v.
func (c *client) call(ctx context.Context, method, path string, v any) error {
	body, err := c.do(ctx, method, path, nil, 0)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(v)
}
