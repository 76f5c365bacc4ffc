// Package file writes files so that they are found whole or not at all.
package file

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces the file path by b, for its owner only. Whatever dies
// meanwhile, the process or the host, the file has all of b or is as before;
// when Write has returned nil it has b.
func Write(path string, b []byte) error {
	tmp, err := Temp(path, b)
	if err != nil {
		return err
	}
	return move(tmp, path)
}

// Temp leaves b on the disk in a new file beside path, for its owner only, and
// returns that file's name, which begins with a dot.
func Temp(path string, b []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // its mode is 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// Publish gives f, which has all it should have and lies in the same file
// system, the name path, as Write does. It leaves f open.
func Publish(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return move(f.Name(), path)
}

// move renames tmp, which is on the disk. It removes tmp when it can't.
func move(tmp, path string) error {
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir returns when the names in dir are on the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
