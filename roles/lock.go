package roles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir makes this process the only eucad that works in dir, until the file
// that it returns is closed or the process ends. A second one would write to the
// store before it finds that the first one's addresses are taken, and the first
// one's nodes would miss changes.
func lockDir(dir string) (*os.File, error) {
	err := os.MkdirAll(dir, 0o755)
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(filepath.Join(dir, "eucad.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: eucad keeps its state in %s; run it by sudo, or choose another --dir", err, dir)
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another eucad runs in %s; stop it first, or choose another --dir", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}
