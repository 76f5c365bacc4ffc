package mesh_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"eucad/net/link"
	"eucad/net/mesh"
)

func TestKey(t *testing.T) {
	t.Parallel()
	k, err := mesh.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := mesh.ParseKey(k.String()); err != nil || got != k {
		t.Errorf("ParseKey(String) = %v", err)
	}
	for _, s := range []string{"", "x", k.String()[1:]} {
		if _, err := mesh.ParseKey(s); err == nil {
			t.Errorf("%q is a key", s)
		}
	}
	// RFC 7748, section 6.1.
	alice := mesh.Key{0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a}
	if pub := alice.Public(); fmt.Sprintf("%x", pub[:]) != "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a" {
		t.Errorf("public key = %x", pub[:])
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	k, p := mesh.Key{1}, mesh.Key{2}
	addr, far := netip.MustParsePrefix("10.200.0.1/16"), netip.MustParsePrefix("10.200.0.2/32")
	for name, c := range map[string]mesh.Config{
		"no key":             {Addr: addr},
		"no address":         {PrivateKey: k},
		"an IPv6 address":    {PrivateKey: k, Addr: netip.MustParsePrefix("2001:db8::1/64")},
		"a tiny MTU":         {PrivateKey: k, Addr: addr, Underlay: 600},
		"a peer without key": {PrivateKey: k, Addr: addr, Peers: []mesh.Peer{{}}},
		"a peer twice":       {PrivateKey: k, Addr: addr, Peers: []mesh.Peer{{PublicKey: p}, {PublicKey: p}}},
		"an address twice":   {PrivateKey: k, Addr: addr, Peers: []mesh.Peer{{PublicKey: p, Addrs: []netip.Prefix{far}}, {PublicKey: mesh.Key{3}, Addrs: []netip.Prefix{far}}}},
		"all addresses":      {PrivateKey: k, Addr: addr, Peers: []mesh.Peer{{PublicKey: p, Addrs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}}},
	} {
		if err := c.Check(); err == nil {
			t.Errorf("%s: was accepted", name)
		}
	}
	good := mesh.Config{PrivateKey: k, Addr: addr, Peers: []mesh.Peer{{PublicKey: p, Addrs: []netip.Prefix{far}}}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

// A host is a namespace with a network to another, and a mesh.
type host struct {
	t    *testing.T
	ns   *link.NS
	mesh *mesh.Mesh
	conf mesh.Config
}

// inUser returns a mesh of the host with the namespace, in user space.
func inUser(ns *link.NS) (*mesh.Mesh, error) {
	m, err := inAny(ns)
	if m != nil {
		m.InUserSpace()
	}
	return m, err
}

// inAny returns a mesh of the host with the namespace.
func inAny(ns *link.NS) (m *mesh.Mesh, err error) {
	err = ns.Do(func() (err error) { m, err = mesh.New(slog.New(slog.DiscardHandler)); return err })
	return m, err
}

// pair makes two hosts, 192.0.2.1 and 192.0.2.2, which are 10.200.0.1 and
// 10.200.0.2 in the mesh.
func pair(t *testing.T, open func(*link.NS) (*mesh.Mesh, error)) [2]*host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	var out [2]*host
	for i := range out {
		ns, err := link.NewNS()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ns.Close() })
		m, err := open(ns)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		key, err := mesh.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = &host{t, ns, m, mesh.Config{PrivateKey: key, ListenPort: 51820, Addr: netip.PrefixFrom(meshAddr(i), 16)}}
	}
	c, err := out[0].ns.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Veth("eth0", "eth0", out[1].ns, 1500); err != nil {
		t.Fatal(err)
	}
	for i, h := range out {
		h.sh("ip link set lo up; ip link set eth0 up; ip addr add 192.0.2.%d/24 dev eth0", i+1)
		far := out[1-i]
		h.conf.Peers = []mesh.Peer{{PublicKey: far.conf.PrivateKey.Public(), Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(2 - i)}), 51820),
			Addrs: []netip.Prefix{netip.PrefixFrom(meshAddr(1-i), 32)}}}
	}
	return out
}

func meshAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 200, 0, byte(i + 1)}) }

func (h *host) try(format string, args ...any) (string, error) {
	var out []byte
	err := h.ns.Do(func() (err error) {
		out, err = exec.Command("sh", "-c", fmt.Sprintf(format, args...)).CombinedOutput()
		return err
	})
	return strings.TrimSpace(string(out)), err
}

func (h *host) sh(format string, args ...any) string {
	h.t.Helper()
	out, err := h.try(format, args...)
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", fmt.Sprintf(format, args...), err, out)
	}
	return out
}

func (h *host) apply() {
	h.t.Helper()
	if err := h.mesh.Apply(h.t.Context(), h.conf); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) ping(a string) bool {
	_, err := h.try("ping -c 1 -W 1 %s", a)
	return err == nil
}

// meets is ping with patience: hosts that don't hear each other's greeting try
// again after 5 s (WireGuard's REKEY_TIMEOUT).
func (h *host) meets(a string) bool {
	for range 15 {
		if h.ping(a) {
			return true
		}
	}
	return false
}

func TestUser(t *testing.T) {
	t.Parallel()
	hosts := pair(t, inUser)
	testMesh(t, hosts, mesh.User)

	// What another process would do: the device is taken.
	a := hosts[0]
	second, err := inUser(a.ns)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Apply(t.Context(), a.conf); err == nil {
		t.Error("a device that another mesh serves was taken over")
	}
	// And after the end of the first: nothing is left, and all begins anew.
	for range 2 {
		if err := a.mesh.Close(); err != nil {
			t.Error(err)
		}
	}
	if got, _ := a.try("ip link show %s", mesh.Device); !strings.Contains(got, "does not exist") {
		t.Errorf("left: %s", got)
	}
	a.mesh = second
	a.apply()
	if !a.meets("10.200.0.2") {
		t.Error("hosts don't meet again after a restart")
	}
}

func TestKernel(t *testing.T) {
	t.Parallel()
	hosts := pair(t, inAny)
	hosts[0].apply()
	if got := hosts[0].mesh.Mode(); got != mesh.Kernel {
		t.Skipf("this kernel has no WireGuard: the mesh is in %s", got)
	}
	testMesh(t, hosts, mesh.Kernel)
	// It goes on without us, and is found again.
	a := hosts[0]
	if err := a.mesh.Close(); err != nil {
		t.Fatal(err)
	}
	if !a.ping("10.200.0.2") {
		t.Error("the kernel's mesh ended with us")
	}
	before := a.sh("ip -4 addr show dev %s", mesh.Device)
	var err error
	if a.mesh, err = inAny(a.ns); err != nil {
		t.Fatal(err)
	}
	defer a.mesh.Close()
	a.apply()
	if after := a.sh("ip -4 addr show dev %s", mesh.Device); after != before {
		t.Errorf("the device changed:\n%s\nwas\n%s", after, before)
	}
}

func testMesh(t *testing.T, hosts [2]*host, mode mesh.Mode) {
	a, b := hosts[0], hosts[1]
	a.apply()
	b.apply()
	if got := a.mesh.Mode(); got != mode {
		t.Errorf("mode = %q, want %q", got, mode)
	}
	if !a.meets("10.200.0.2") || !b.ping("10.200.0.1") {
		t.Fatal("hosts don't meet")
	}
	if _, err := a.try("ping -c 1 -W 1 -M do -s 1392 10.200.0.2"); err != nil {
		t.Error("a packet of the whole MTU is lost")
	}
	if got := a.sh("ip link show %s", mesh.Device); !strings.Contains(got, "mtu 1420") {
		t.Errorf("device: %s", got)
	}

	// The same again disturbs nothing.
	lost := make(chan string)
	go func() {
		out, _ := a.try("ping -q -i 0.005 -c 200 -W 5 10.200.0.2")
		lost <- out
	}()
	before := a.sh("ip -4 addr; ip route; ss -Hunlp 2>/dev/null || cat /proc/net/udp")
	for range 5 {
		a.apply()
		b.apply()
		time.Sleep(50 * time.Millisecond)
	}
	if out := <-lost; !strings.Contains(out, " 0% packet loss") {
		t.Errorf("packets were lost:\n%s", out)
	}
	if after := a.sh("ip -4 addr; ip route; ss -Hunlp 2>/dev/null || cat /proc/net/udp"); after != before {
		t.Errorf("applying the same changed:\n%s\nwas\n%s", after, before)
	}

	// A network behind the other host, which comes and goes.
	b.sh("ip addr add 198.51.100.1/32 dev lo")
	a.conf.Peers[0].Addrs = append(a.conf.Peers[0].Addrs, netip.MustParsePrefix("198.51.100.0/24"))
	a.apply()
	if !a.ping("198.51.100.1") {
		t.Error("a network behind a host is out of reach")
	}
	a.conf.Peers[0].Addrs = a.conf.Peers[0].Addrs[:1]
	a.apply()
	if a.ping("198.51.100.1") || !a.ping("10.200.0.2") {
		t.Error("the network that went is still there, or the host went with it")
	}
	// Nobody may come from an address that is another's.
	b.sh("ip addr add 10.200.0.77/32 dev %s", mesh.Device)
	if _, err := b.try("ping -c 1 -W 1 -I 10.200.0.77 10.200.0.1"); err == nil {
		t.Error("an address that is not the host's got through")
	}
	// A host that is none any more.
	peers := a.conf.Peers
	a.conf.Peers = nil
	a.apply()
	if b.ping("10.200.0.1") {
		t.Error("a host that was removed gets in")
	}
	a.conf.Peers = peers
	a.apply()
	if !a.meets("10.200.0.2") {
		t.Error("a host that came back is out of reach")
	}
	a.conf.ListenPort, a.conf.Addr = 51999, netip.MustParsePrefix("10.200.0.1/24")
	a.apply()
	if !a.meets("10.200.0.2") {
		t.Error("another port and prefix: out of reach")
	}
	wrong := a.conf
	wrong.PrivateKey = mesh.Key{}
	if err := a.mesh.Apply(t.Context(), wrong); err == nil {
		t.Error("a mesh without key was made")
	}
}
