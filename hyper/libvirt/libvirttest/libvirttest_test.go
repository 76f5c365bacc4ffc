package libvirttest

import (
	"testing"
	"time"
)

func TestRestart(t *testing.T) {
	d := NewPrivate(t)
	d.Kill(t)
	start := time.Now()
	d.Start(t)
	t.Log("restarted in", time.Since(start))
}
