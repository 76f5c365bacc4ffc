package disk

import "testing"

// A kernel image boots a bare file system, so one is a disk too.
func TestRawFileSystems(t *testing.T) {
	for _, f := range fileSystems {
		b := make([]byte, 1<<20)
		copy(b[f.at:], f.magic)
		if img, err := inspectRaw(b, int64(len(b))); err != nil || img.format != "raw" {
			t.Errorf("%q at %d: %v %v", f.magic, f.at, img, err)
		}
	}
	if _, err := inspectRaw(make([]byte, 1<<20), 1<<20); err == nil {
		t.Error("zeros are a disk")
	}
}
