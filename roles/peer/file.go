package peer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"eucad/store/file"
)

// makeSecret writes b unless the file is there, and returns what it has then:
// of two that start at once, both get the same.
func makeSecret(path string, b []byte) ([]byte, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	tmp, err := file.Temp(path, b)
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := file.SyncDir(dir); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
