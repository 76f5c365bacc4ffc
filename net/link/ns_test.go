package link

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The main thread would stay in the namespace for as long as the process lives,
// and the namespace with it.
func TestNotOnMainThread(t *testing.T) {
	for i := range 1000 {
		onThread(func() error {
			if unix.Gettid() == unix.Getpid() {
				t.Error("runs on the main thread, try", i)
			}
			return nil
		})
	}
}
