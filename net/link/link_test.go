package link

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// private returns a fresh namespace that ends with the test.
func private(t *testing.T) (*NS, *Conn) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	name := fmt.Sprintf("eucad-test-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	t.Cleanup(func() { DeleteNS(name) })
	ns, err := MakeNS(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	c, err := ns.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return ns, c
}

func TestDevices(t *testing.T) {
	t.Parallel()
	ns, c := private(t)
	if err := c.Tap("tap1", 1450); err != nil {
		t.Fatal(err)
	}
	if err := c.Tap("tap1", 1450); err != nil {
		t.Fatal("twice:", err)
	}
	d, ok, err := c.Device("tap1")
	if err != nil || !ok || d.MTU != 1450 || d.Up || d.Carrier {
		t.Fatalf("tap1 = %+v, %v, %v", d, ok, err)
	}
	if err := c.Up(d.Index, 0); err != nil {
		t.Fatal(err)
	}
	var f *os.File
	if err := ns.Do(func() (err error) { f, err = OpenTap("tap1"); return err }); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if d, _, _ := c.Device("tap1"); !d.Carrier || !d.Up || d.MTU != 1450 {
		t.Errorf("open tap1 = %+v", d)
	}
	mac, _ := net.ParseMAC("02:00:00:00:00:01")
	ip := netip.MustParseAddr("10.0.0.5")
	host := netip.PrefixFrom(ip, 32)
	for range 2 {
		if err := c.PutRoute(Route{Dest: host, Device: d.Index}); err != nil {
			t.Fatal(err)
		}
		if err := c.PutNeighbour(d.Index, ip, mac); err != nil {
			t.Fatal(err)
		}
		if err := c.PutProxy(d.Index, netip.MustParseAddr("10.0.0.9")); err != nil {
			t.Fatal(err)
		}
		if err := c.PutRoute(Route{Dest: netip.MustParsePrefix("10.0.0.0/8"), Unreachable: true}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := c.Routes(d.Index); err != nil || len(r) != 1 || r[0] != host {
		t.Errorf("routes = %v, %v", r, err)
	}
	for range 2 {
		if err := c.DeleteRoute(Route{Dest: host, Device: d.Index}); err != nil {
			t.Error(err)
		}
		if err := c.DeleteProxy(d.Index, netip.MustParseAddr("10.0.0.9")); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := c.Delete("tap1"); err != nil {
			t.Error(err)
		}
	}
	if err := ns.Sysctl(map[string]string{"ipv4.ip_forward": "1"}); err != nil {
		t.Error(err)
	}
}

func TestVethAndMove(t *testing.T) {
	t.Parallel()
	ns, c := private(t)
	name := fmt.Sprintf("eucad-test-%d-far", os.Getpid())
	t.Cleanup(func() { DeleteNS(name) })
	far, err := MakeNS(name)
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	fc, err := far.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer fc.Close()
	if err := c.Veth("a", "b", far, 1400); err != nil {
		t.Fatal(err)
	}
	a, ok, err := c.Device("a")
	b, ok2, err2 := fc.Device("b")
	if !ok || !ok2 || a.MTU != 1400 || b.MTU != 1400 {
		t.Fatalf("a = %+v %v, b = %+v %v", a, err, b, err2)
	}
	p := netip.MustParsePrefix("100.127.0.0/31")
	for range 2 {
		if err := c.AddAddress(a.Index, p); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.Addresses(a.Index); err != nil || len(got) != 1 || got[0] != p {
		t.Errorf("addresses = %v, %v", got, err)
	}
	if err := c.Tap("tap2", 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Move("tap2", far); err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := fc.Device("tap2"); !ok {
		t.Error("tap2 did not arrive")
	}
	_ = ns
}
