package roles

import (
	"os"
	"strings"
	"testing"
)

func TestLockDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/state"
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil || !strings.Contains(err.Error(), "another eucad runs in "+dir) {
		t.Errorf("a second lock: %v", err)
	}
	lock.Close()
	again, err := lockDir(dir)
	if err != nil {
		t.Fatalf("after the first: %v", err)
	}
	again.Close()
	if os.Geteuid() == 0 {
		t.Skip("the superuser may write anywhere")
	}
	if _, err := lockDir("/eucad"); err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("where we may not write: %v", err)
	}
}
