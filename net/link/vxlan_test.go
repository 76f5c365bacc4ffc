package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestVxlan(t *testing.T) {
	t.Parallel()
	_, c := private(t)
	name := fmt.Sprintf("eucad-test-%d-inside", os.Getpid())
	t.Cleanup(func() { DeleteNS(name) })
	inside, err := MakeNS(name)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	ic, err := inside.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer ic.Close()
	want := Vxlan{VNI: 4711, Local: netip.MustParseAddr("192.0.2.1"), Port: 4789}
	mac := net.HardwareAddr{6, 0, 0, 0, 0, 1}
	if err := c.Vxlan("vx0", inside, want, mac, 1450); err != nil {
		t.Fatal(err)
	}
	d, ok, err := ic.Device("vx0")
	if err != nil || !ok || d.MTU != 1450 || d.MAC.String() != mac.String() {
		t.Fatalf("vx0 = %+v, %v, %v", d, ok, err)
	}
	if got, err := ic.VxlanOf(d.Index); err != nil || got != want {
		t.Errorf("VxlanOf = %+v, %v; want %+v", got, err, want)
	}
	if got, err := ic.VxlanOf(1); err != nil || got != (Vxlan{}) {
		t.Errorf("lo = %+v, %v", got, err)
	}
	if err := c.Vxlan("vx1", inside, want, mac, 1450); !errors.Is(err, unix.EEXIST) {
		t.Errorf("the same VNI twice on one host: %v", err)
	}
	if err := ic.Up(d.Index, 0); err != nil {
		t.Fatal(err)
	}
	// Without any address the kernel has no table that says a gateway is none of its own.
	if err := ic.AddAddress(1, netip.MustParsePrefix("198.51.100.1/32")); err != nil {
		t.Fatal(err)
	}

	via := netip.MustParseAddr("240.0.2.2")
	dest := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
	}
	for _, n := range []int{1, 1000} { // one by one, and at once
		for range 2 {
			b := ic.Batch()
			b.PutEnd(d.Index, netip.MustParseAddr("192.0.2.2"), via, mac)
			for i := range n {
				b.PutRoute(Route{Dest: dest(i), Via: via, OnLink: true, Device: d.Index})
			}
			if err := b.Run(); err != nil {
				t.Fatal(err)
			}
		}
		routes, err := ic.Vias(d.Index)
		if err != nil || len(routes) != n || routes[dest(n-1)] != via {
			t.Errorf("%d routes of %d, %v", len(routes), n, err)
		}
		if got, err := ic.Neighbours(d.Index); err != nil || len(got) != 1 || got[via].String() != mac.String() {
			t.Errorf("neighbours = %v, %v", got, err)
		}
		for range 2 {
			b := ic.Batch()
			for i := range n {
				b.DeleteRoute(Route{Dest: dest(i), Device: d.Index})
			}
			b.DeleteEnd(d.Index, netip.MustParseAddr("192.0.2.2"), via, mac)
			if err := b.Run(); err != nil {
				t.Fatal(err)
			}
		}
		if routes, err := ic.Vias(d.Index); err != nil || len(routes) != 0 {
			t.Errorf("routes left: %v, %v", routes, err)
		}
		if got, err := ic.Neighbours(d.Index); err != nil || len(got) != 0 {
			t.Errorf("neighbours left: %v, %v", got, err)
		}
	}

	// What is wrong is named, and keeps nothing else from being done.
	b := ic.Batch()
	for i := range 20 {
		b.PutRoute(Route{Dest: dest(i), Via: via, OnLink: i != 7, Device: d.Index})
	}
	if err := b.Run(); err == nil || !strings.Contains(err.Error(), dest(7).String()) || strings.Contains(err.Error(), dest(8).String()) {
		t.Errorf("a wrong route: %v", err)
	}
	if routes, _ := ic.Vias(d.Index); len(routes) != 19 {
		t.Errorf("%d routes, want the 19 that are right", len(routes))
	}
}

func TestDeviceWith(t *testing.T) {
	t.Parallel()
	_, c := private(t)
	if err := c.Tap("tap1", 1400); err != nil {
		t.Fatal(err)
	}
	d, _, err := c.Device("tap1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddAddress(d.Index, netip.MustParsePrefix("192.0.2.9/24")); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := c.DeviceWith(netip.MustParseAddr("192.0.2.9")); err != nil || !ok || got.Name != "tap1" || got.MTU != 1400 {
		t.Errorf("DeviceWith = %+v, %v, %v", got, ok, err)
	}
	if _, ok, err := c.DeviceWith(netip.MustParseAddr("192.0.2.8")); ok || err != nil {
		t.Errorf("an address that nobody has: %v, %v", ok, err)
	}
}
