package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"eucad/hyper"
)

const (
	consoleFile = "console.log"
	maxConsole  = 64 << 10 // as EC2's GetConsoleOutput gives
)

// Console returns the end of what the guest wrote to its first serial port;
// see hyper.Driver.
func (d *Driver) Console(ctx context.Context, id string) ([]byte, time.Time, error) {
	if err := hyper.CheckID(id); err != nil {
		return nil, time.Time{}, err
	}
	path := filepath.Join(d.machineDir(id), consoleFile)
	out, when, err := tail(path, maxConsole)
	if err == nil && len(out) < maxConsole {
		// virtlogd goes on in a new file when one is full.
		var before []byte
		if before, _, err = tail(path+".0", maxConsole-int64(len(out))); err == nil {
			out = append(before, out...)
		}
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the console of %s: %w", id, err)
	}
	return out, when, nil
}

// tail returns at most the last n bytes of a file and when it was written.
// A file that isn't there is empty.
func tail(path string, n int64) ([]byte, time.Time, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	if fi.Size() > n {
		if _, err := f.Seek(-n, io.SeekEnd); err != nil {
			return nil, time.Time{}, err
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, n))
	return b, fi.ModTime(), err
}
