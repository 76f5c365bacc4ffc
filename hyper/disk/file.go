package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"eucad/store/file"
)

// tempPrefix begins the names of what is not whole yet.
const tempPrefix = ".new-"

var hashName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// sweep makes the directory if it must, and removes from it what an earlier
// process did not finish.
func sweep(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), tempPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, f.Name())))
		}
	}
	return err
}

// publish gives f, which is whole, its final name, so that it is found there
// whole after a crash too. QEMU's user may read it.
func publish(f *os.File, path string) error {
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return file.Publish(f, path)
}

// diskFull says what would mend err.
func diskFull(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the file system of %s is full: free some space there: %w", dir, err)
	}
	return err
}
