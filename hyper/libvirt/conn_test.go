package libvirt

import (
	"context"
	"testing"
	"time"

	"eucad/hyper/libvirt/libvirttest"
)

// TestCancelledDial gives up at every moment of opening a connection: no
// goroutine stays, and with -race none reads what another writes.
func TestCancelledDial(t *testing.T) {
	d := open(t, libvirttest.NewPrivate(t))
	start := time.Now()
	cn, err := d.client.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cn.Conn.Close()
	const tries = 400
	long := 2 * time.Since(start)
	for n := range tries {
		ctx, cancel := context.WithTimeout(t.Context(), long*time.Duration(n)/tries)
		if cn, err := d.client.dial(ctx); err == nil {
			cn.Conn.Close()
		}
		cancel()
	}
}
