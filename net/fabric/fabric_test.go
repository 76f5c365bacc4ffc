package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"eucad/net/fabric"
	"eucad/net/fabrictest"
)

func TestNetwork(t *testing.T) {
	needHost(t)
	run(t, "ip addr add 192.0.2.1/32 dev lo")
	t.Cleanup(func() { run(t, "ip addr del 192.0.2.1/32 dev lo") })
	opt := fabric.Options{Tunnel: fabric.Tunnel{Addr: ip("192.0.2.1")}}
	fabrictest.Test(t, func(t *testing.T) fabrictest.Rig {
		f := newFabric(t, opt)
		return fabrictest.Rig{
			Network: f,
			Open:    func(t testing.TB, p fabric.Port) func() { return power(t, p).off },
			Reopen: func(t testing.TB) fabric.Network {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				return newFabric(t, opt)
			},
		}
	})
}

func TestGroups(t *testing.T) {
	needHost(t)
	f := newFabric(t, fabric.Options{})
	r := vpc("vpc-1", port(1, 10), port(1, 11))
	apply(t, f, r)
	a := boot(t, f, r.Ports[0]).static(subnetA).serve(80).serve(81)
	b := boot(t, f, r.Ports[1]).static(subnetA).serve(80)
	b.reaches("10.0.0.10:80", "10.0.0.11")
	a.reaches("10.0.0.11:80", "10.0.0.10")
	b.blocked("10.0.0.10:81")
	if b.ping("10.0.0.10") {
		t.Error("ping got through without a rule")
	}
	r.Groups[0].Ingress = append(r.Groups[0].Ingress, fabric.Rule{Protocol: 1, From: 8, To: -1, Prefixes: everybody()},
		fabric.Rule{Protocol: 6, From: 81, To: 81, Groups: []string{"sg-open"}})
	apply(t, f, r)
	b.reaches("10.0.0.10:81", "10.0.0.11")
	if !b.ping("10.0.0.10") {
		t.Error("ping is allowed and lost")
	}
	r.Groups[0].Members = []netip.Addr{r.Ports[0].Addr}
	apply(t, f, r)
	b.blocked("10.0.0.10:81") // no member any more
	r.Groups[0].Ingress = r.Groups[0].Ingress[:1]
	r.Groups[0].Egress = []fabric.Rule{{Protocol: 17, From: 53, To: 53, Prefixes: everybody()}}
	apply(t, f, r)
	b.blocked("10.0.0.10:80") // no egress
	r.Ports[0].Groups = nil
	r.Groups[0].Egress = []fabric.Rule{{Protocol: -1, From: -1, To: -1, Prefixes: everybody()}}
	apply(t, f, r)
	b.blocked("10.0.0.10:80") // no group, no way in

	s, err := f.Stats(t.Context(), r.Ports[0].ID)
	if err != nil || s.RxPackets == 0 || s.TxBytes == 0 {
		t.Errorf("stats = %+v, %v", s, err)
	}
}

func TestSpoofing(t *testing.T) {
	needHost(t)
	f := newFabric(t, fabric.Options{})
	r := vpc("vpc-1", port(1, 10), port(1, 11))
	apply(t, f, r)
	boot(t, f, r.Ports[0]).static(subnetA).serve(80)
	b := boot(t, f, r.Ports[1]).static(subnetA)
	b.reaches("10.0.0.10:80", "10.0.0.11")
	b.sh("ip addr add 10.0.0.77/24 dev eth0 && ip route add 10.0.0.10/32 dev eth0 src 10.0.0.77")
	b.blocked("10.0.0.10:80")
	b.sh("ip route del 10.0.0.10/32 && ip addr del 10.0.0.77/24 dev eth0")
	b.reaches("10.0.0.10:80", "10.0.0.11")
	b.sh("ip link set eth0 address 02:00:00:00:99:99 && ip route replace default via 10.0.0.1")
	b.blocked("10.0.0.10:80")
	b.sh("ip link set eth0 address %s && ip route replace default via 10.0.0.1", b.port.MAC)
	b.reaches("10.0.0.10:80", "10.0.0.11")
}

// TestAnySource has a guest forward for an address that is not its own.
func TestAnySource(t *testing.T) {
	needHost(t)
	f := newFabric(t, fabric.Options{})
	r := vpc("vpc-1", port(1, 10), port(1, 11))
	r.Ports[1].AnySource = true
	apply(t, f, r)
	a := boot(t, f, r.Ports[0]).static(subnetA)
	b := boot(t, f, r.Ports[1]).static(subnetA)
	b.sh("ip addr add 10.0.0.77/32 dev lo")
	before := a.received()
	b.try("busybox ping -c 1 -W 1 -I 10.0.0.77 10.0.0.10") // no answer finds its way back
	if a.received() == before {
		r.Groups[0].Ingress = append(r.Groups[0].Ingress, fabric.Rule{Protocol: 1, From: -1, To: -1, Prefixes: everybody()})
		apply(t, f, r)
		b.try("busybox ping -c 1 -W 1 -I 10.0.0.77 10.0.0.10")
		if a.received() == before {
			t.Error("a guest without source check cannot send from another address")
		}
	} else {
		t.Error("ping got through without a rule")
	}
}

func TestPublic(t *testing.T) {
	needHost(t)
	f := newFabric(t, fabric.Options{})
	a, b, c := port(1, 10), port(1, 11), port(2, 10)
	a.Public, b.Public, c.Public = ip("198.51.100.10"), ip("198.51.100.11"), ip("198.51.100.12")
	d := port(2, 11)
	one, two := vpc("vpc-1", a, b), vpc("vpc-2", c, d)
	apply(t, f, one, two)
	ga := boot(t, f, a).static(subnetA).serve(80)
	gb := boot(t, f, b).static(subnetA).serve(80)
	gc := boot(t, f, c).static(subnetA).serve(80)
	gd := boot(t, f, d).static(subnetA)
	if got, err := askFrom("198.51.100.10:80"); err != nil || !strings.HasPrefix(got, "100.127.") {
		t.Errorf("host → public address: %q, %v", got, err)
	}
	gb.reaches("198.51.100.10:80", "198.51.100.11") // within the VPC, by way of the host
	gc.reaches("198.51.100.10:80", "198.51.100.12") // from another VPC
	ga.reaches("198.51.100.10:80", "198.51.100.10") // itself
	gb.reaches("10.0.0.10:80", "10.0.0.11")
	if got, err := gd.ask("198.51.100.11:80"); err != nil || !strings.HasPrefix(got, "100.127.") {
		t.Errorf("no public address → public address: %q, %v", got, err)
	}
	// 10.0.0.10 is another guest in each VPC.
	gd.reaches("10.0.0.10:80", "10.0.0.11")

	// The address goes from one guest to another.
	one.Ports[0].Public, one.Ports[1].Public = netip.Addr{}, ip("198.51.100.10")
	apply(t, f, one, two)
	gc.reaches("198.51.100.10:80", "198.51.100.12")
	ga.blocked("198.51.100.11:80")
	if got := run(t, "ip route show proto 158 | grep -c 198.51.100"); got != "2" {
		t.Errorf("%s public routes, want 2", got)
	}
}

// TestTunnelOptions has hosts that cannot do what is asked of them.
func TestTunnelOptions(t *testing.T) {
	needHost(t)
	for _, a := range []string{"192.0.2.99", "2001:db8::1"} {
		if f, err := fabric.New(fabric.Options{Tunnel: fabric.Tunnel{Addr: ip(a)}}); err == nil {
			f.Close()
			t.Errorf("a tunnel address that no device has: %s", a)
		}
	}
	f := newFabric(t, fabric.Options{})
	r := vpc("vpc-1", port(1, 10))
	r.Exit = ip("192.0.2.2")
	if err := f.Apply(t.Context(), fabric.Config{Routers: []fabric.Router{r}}); err == nil {
		t.Error("a router that exits by another host, on a host without tunnel, was made")
	}
	if got := run(t, "ip -n eucad-vpc-1 route show default"); got != "" {
		t.Errorf("it leaves by its own host: %s", got)
	}
}

// TestWorld sends packets beyond the host.
func TestWorld(t *testing.T) {
	needHost(t)
	run(t, `ip link add world type veth peer name eth9 && ip addr add 203.0.113.1/24 dev eth9 && ip link set eth9 up
		ip netns add world && ip link set world netns world
		ip -n world addr add 203.0.113.9/24 dev world && ip -n world link set world up && ip -n world link set lo up
		ip route add default via 203.0.113.9`)
	t.Cleanup(func() { run(t, "ip netns del world; ip link del eth9 2>/dev/null || true") })
	world := &guest{t: t, ns: mustNS(t, "world"), port: fabric.Port{Addr: ip("203.0.113.9")}}
	world.serve(80)
	hostService(t, "203.0.113.1:8773")
	hostService(t, "203.0.113.1:22")

	t.Run("host-only", func(t *testing.T) {
		f := newFabric(t, fabric.Options{HostPorts: []uint16{8773}})
		r := vpc("vpc-1", port(1, 10), port(1, 11))
		r.Ports[0].Public = ip("198.51.100.10")
		apply(t, f, r)
		a := boot(t, f, r.Ports[0]).static(subnetA).serve(80)
		b := boot(t, f, r.Ports[1]).static(subnetA)
		a.reaches("203.0.113.9:80", "203.0.113.1")
		b.reaches("203.0.113.9:80", "203.0.113.1")
		if _, err := b.ask("203.0.113.1:8773"); err != nil {
			t.Errorf("the host's own service that is open to guests: %v", err)
		}
		b.blocked("203.0.113.1:22")
		b.blocked("100.127.0.0:22")
		b.blocked("10.0.99.99:80") // nobody's address of the VPC goes nowhere
		world.sh("ip route replace 198.51.100.0/24 via 203.0.113.1 && ip route replace 169.254.169.254/32 via 203.0.113.1")
		world.blocked("198.51.100.10:80")
		world.blocked("169.254.169.254:80")
		world.sh("ip route del 198.51.100.0/24 && ip route del 169.254.169.254/32")
	})
	t.Run("public interface", func(t *testing.T) {
		world.sh("sysctl -qw net.ipv4.conf.world.arp_accept=1")
		f := newFabric(t, fabric.Options{PublicInterface: "eth9", PublicPrefix: netip.MustParsePrefix("203.0.113.128/25")})
		r := vpc("vpc-1", port(1, 10), port(1, 11))
		r.Ports[0].Public = ip("203.0.113.130")
		apply(t, f, r)
		a := boot(t, f, r.Ports[0]).static(subnetA).serve(80)
		b := boot(t, f, r.Ports[1]).static(subnetA)
		if got := world.sh("ip neigh show 203.0.113.130"); !strings.Contains(got, "lladdr") {
			t.Errorf("no gratuitous ARP: %q", got)
		}
		world.reaches("203.0.113.130:80", "203.0.113.9")
		world.blocked("203.0.113.130:81")
		a.reaches("203.0.113.9:80", "203.0.113.130")
		b.reaches("203.0.113.9:80", "203.0.113.1")
		if got, err := askFrom("203.0.113.130:80"); err != nil || got != "203.0.113.1" {
			t.Errorf("host → public address: %q, %v", got, err)
		}
		apply(t, f)
		if got := run(t, "ip neigh show proxy"); got != "" {
			t.Errorf("proxy ARP left: %s", got)
		}
	})
	t.Run("public addresses of another range", func(t *testing.T) {
		own := netip.MustParsePrefix("203.0.113.128/25")
		f := newFabric(t, fabric.Options{PublicInterface: "eth9", PublicPrefix: netip.MustParsePrefix("198.51.100.0/24")})
		r := vpc("vpc-1", port(1, 10))
		r.Ports[0].Public = ip("203.0.113.140")
		if err := f.Apply(t.Context(), fabric.Config{Routers: []fabric.Router{r}, Public: own}); err != nil {
			t.Fatal(err)
		}
		a := boot(t, f, r.Ports[0]).static(subnetA).serve(80)
		world.reaches("203.0.113.140:80", "203.0.113.9")
		a.reaches("203.0.113.9:80", "203.0.113.140")
		if err := f.Apply(t.Context(), fabric.Config{Public: netip.MustParsePrefix("100.127.9.0/24")}); err == nil || !strings.Contains(err.Error(), "overlaps the transit prefix") {
			t.Errorf("range that overlaps: %v", err)
		}
		apply(t, f)
	})
}

func TestMetadata(t *testing.T) {
	needHost(t)
	f := newFabric(t, fabric.Options{
		Metadata: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			_, ok := r.Context().Value(connKey{}).(syscall.Conn) // for the hop limit
			fmt.Fprintf(w, "%s %s %v", fabric.RouterID(r.Context()), host, ok)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	})
	one, two := vpc("vpc-1", port(1, 10)), vpc("vpc-2", port(2, 10))
	one.Groups = nil // groups don't filter it
	apply(t, f, one, two)
	for id, r := range map[string]fabric.Router{"vpc-1": one, "vpc-2": two} {
		g := boot(t, f, r.Ports[0]).static(subnetA)
		if got, err := g.get("GET", "http://169.254.169.254/latest/"); err != nil || got != id+" 10.0.0.10 true" {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
	if _, err := askFrom("169.254.169.254:80"); err == nil {
		t.Error("the host reaches a guest's metadata")
	}
}

type connKey struct{}

func TestDHCP(t *testing.T) {
	needHost(t)
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("needs busybox's udhcpc")
	}
	f := newFabric(t, fabric.Options{})
	r := vpc("vpc-1", port(1, 10), port(1, 11))
	apply(t, f, r)
	a := boot(t, f, r.Ports[0])
	boot(t, f, r.Ports[1]).static(subnetA).serve(80)
	script := filepath.Join(t.TempDir(), "script")
	os.WriteFile(script, []byte(`#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev eth0 && ip link set eth0 mtu $mtu && ip route add default via $router
echo "$ip/$mask $router $dns $mtu $hostname $domain $search $staticroutes $lease"
`), 0o755)
	got := a.sh("busybox udhcpc -i eth0 -n -q -f -t 5 -T 1 -O mtu -O search -O staticroutes -s %s 2>/dev/null", script)
	want := "10.0.0.10/24 10.0.0.1 10.0.0.2 1400 ip-10-0-0-10 az1.eucad.internal az1.eucad.internal 169.254.169.254/32 10.0.0.1 0.0.0.0/0 10.0.0.1 86400"
	if strings.TrimSpace(got) != want {
		t.Errorf("lease = %q\nwant    %q", got, want)
	}
	a.reaches("10.0.0.11:80", "10.0.0.10")
}

func TestDNS(t *testing.T) {
	needHost(t)
	f := newFabric(t, fabric.Options{Resolver: func(_ context.Context, query []byte) ([]byte, error) {
		var q, a dns.Msg
		if err := q.Unpack(query); err != nil {
			return nil, err
		}
		if q.Question[0].Name != "example.com." {
			return nil, errors.New("no")
		}
		a.SetReply(&q)
		rr, err := dns.NewRR("example.com. 5 IN A 192.0.2.80")
		a.Answer = []dns.RR{rr}
		raw, _ := a.Pack()
		return raw, err
	}})
	r := vpc("vpc-1", port(1, 10))
	apply(t, f, r)
	a := boot(t, f, r.Ports[0]).static(subnetA)
	for _, tt := range []struct {
		server, network, name string
		kind                  uint16
		want                  string
	}{
		{"10.0.0.2:53", "udp", "ip-10-0-0-10.az1.eucad.internal.", dns.TypeA, "10.0.0.10"},
		{"169.254.169.253:53", "tcp", "IP-10-0-0-10.az1.eucad.internal.", dns.TypeA, "10.0.0.10"},
		{"10.0.0.2:53", "udp", "10.0.0.10.in-addr.arpa.", dns.TypePTR, "ip-10-0-0-10.az1.eucad.internal."},
		{"10.0.0.2:53", "udp", "nobody.az1.eucad.internal.", dns.TypeA, "NXDOMAIN"},
		{"10.0.0.2:53", "udp", "example.com.", dns.TypeA, "192.0.2.80"},
		{"10.0.0.2:53", "udp", "example.net.", dns.TypeA, "SERVFAIL"},
	} {
		var got string
		err := a.ns.Do(func() error {
			q := new(dns.Msg)
			q.SetQuestion(tt.name, tt.kind)
			res, _, err := (&dns.Client{Net: tt.network, Timeout: 2 * time.Second}).Exchange(q, tt.server)
			if err != nil {
				return err
			}
			got = dns.RcodeToString[res.Rcode]
			if len(res.Answer) > 0 {
				f := strings.Fields(res.Answer[0].String())
				got = f[len(f)-1]
			}
			return nil
		})
		if err != nil || got != tt.want {
			t.Errorf("%s %s = %q, %v; want %q", tt.network, tt.name, got, err, tt.want)
		}
	}
}

func hostService(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	serveAddr(t, l)
}
