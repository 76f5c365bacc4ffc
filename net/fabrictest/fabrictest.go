// Package fabrictest holds what every fabric.Network must do, as tests.
package fabrictest

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"testing"

	"errors"

	"eucad/net/fabric"
)

// A Rig is a Network to be tested, without routers, and how to play a machine.
// The Network reaches other hosts, though there are none.
type Rig struct {
	Network fabric.Network

	// Open opens the tap of a port as a machine does that starts, and returns
	// how the machine ends.
	Open func(t testing.TB, p fabric.Port) (end func())

	// Reopen, when not nil, closes Network and returns one that goes on with
	// what is there, as after a restart of the process.
	Reopen func(t testing.TB) fabric.Network
}

// Test runs all tests, each on a Rig of its own.
func Test(t *testing.T, rig func(t *testing.T) Rig) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, Rig)
	}{
		{"Launch", testLaunch},
		{"StopStart", testStopStart},
		{"Order", testOrder},
		{"Leave", testLeave},
		{"Wrong", testWrong},
		{"Remotes", testRemotes},
		{"WrongRemotes", testWrongRemotes},
		{"Restart", testRestart},
		{"Close", testClose},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, rig(t)) })
	}
}

// Router returns a router with n ports in one subnet and one group, which lets
// all pass.
func Router(id string, n int) fabric.Router {
	all := []fabric.Rule{{Protocol: -1, From: -1, To: -1, Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}}
	subnet := netip.MustParsePrefix("10.9.0.0/20")
	r := fabric.Router{ID: id, VNI: 9, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, Domain: "az1.eucad.internal",
		Subnets: []fabric.Subnet{{ID: "subnet-1", Prefix: subnet}}, Groups: []fabric.Group{{ID: "sg-1", Ingress: all, Egress: all}}}
	sum := 0
	for _, c := range id {
		sum = (sum*31 + int(c)) & 0xffff
	}
	addr := gatewayOf(subnet).Next().Next()
	for i := range n {
		addr = addr.Next()
		p := fabric.Port{ID: fmt.Sprintf("eni-%04x%07x000000", sum, i), MAC: fmt.Sprintf("02:ee:%02x:%02x:%02x:%02x", sum>>8, sum&255, i>>8, i&255),
			Addr: addr, Subnet: "subnet-1", Groups: []string{"sg-1"}, Hostname: fmt.Sprintf("host-%d", i), MTU: 1400}
		p.Tap = fabric.TapName(p.ID)
		r.Ports = append(r.Ports, p)
		r.Groups[0].Members = append(r.Groups[0].Members, addr)
		r.Names = append(r.Names, fabric.Name{Name: p.Hostname + "." + r.Domain, Addr: addr})
	}
	return r
}

func gatewayOf(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

func apply(t *testing.T, n fabric.Network, routers ...fabric.Router) {
	t.Helper()
	if err := n.Apply(t.Context(), fabric.Config{Routers: routers}); err != nil {
		t.Fatal(err)
	}
}

// launch brings a machine onto the network, and returns how it ends.
func launch(t *testing.T, rig Rig, p fabric.Port) (end func()) {
	t.Helper()
	if err := rig.Network.OpenPort(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	end = rig.Open(t, p)
	if err := rig.Network.Plug(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	return end
}

func testLaunch(t *testing.T, rig Rig) {
	r := Router("vpc-1", 2)
	for range 2 {
		apply(t, rig.Network, r)
	}
	defer launch(t, rig, r.Ports[0])()
	if err := rig.Network.Plug(t.Context(), r.Ports[0].ID); err != nil {
		t.Errorf("Plug again: %v", err)
	}
	apply(t, rig.Network, r)
	if _, err := rig.Network.Stats(t.Context(), r.Ports[0].ID); err != nil {
		t.Error(err)
	}
}

func testStopStart(t *testing.T, rig Rig) {
	r := Router("vpc-1", 1)
	apply(t, rig.Network, r)
	for range 3 {
		launch(t, rig, r.Ports[0])()
		apply(t, rig.Network, r)
	}
}

func testOrder(t *testing.T, rig Rig) {
	r := Router("vpc-1", 2)
	if err := rig.Network.Plug(t.Context(), r.Ports[0].ID); err == nil {
		t.Error("Plug of a port that no router has worked")
	}
	if _, err := rig.Network.Stats(t.Context(), r.Ports[0].ID); err == nil {
		t.Error("Stats of a port that no router has worked")
	}
	apply(t, rig.Network, r)
	if err := rig.Network.Plug(t.Context(), r.Ports[0].ID); err == nil {
		t.Error("Plug of a port that was not opened worked")
	}
	for range 2 {
		if err := rig.Network.OpenPort(t.Context(), r.Ports[0]); err != nil {
			t.Error(err)
		}
	}
}

func testLeave(t *testing.T, rig Rig) {
	r, s := Router("vpc-1", 2), Router("vpc-2", 1)
	apply(t, rig.Network, r, s)
	for _, p := range []fabric.Port{r.Ports[0], r.Ports[1], s.Ports[0]} {
		defer launch(t, rig, p)()
	}
	gone := r.Ports[1].ID
	r.Ports = r.Ports[:1]
	apply(t, rig.Network, r)
	for _, id := range []string{gone, s.Ports[0].ID} {
		if _, err := rig.Network.Stats(t.Context(), id); err == nil {
			t.Errorf("%s still counts", id)
		}
		if err := rig.Network.Plug(t.Context(), id); err == nil {
			t.Errorf("%s can still be plugged", id)
		}
	}
	if _, err := rig.Network.Stats(t.Context(), r.Ports[0].ID); err != nil {
		t.Error(err)
	}
	apply(t, rig.Network)
	apply(t, rig.Network)
}

func testWrong(t *testing.T, rig Rig) {
	good, bad := Router("vpc-1", 1), Router("vpc-2", 1)
	bad.Ports[0].MAC = "nonsense"
	err := rig.Network.Apply(t.Context(), fabric.Config{Routers: []fabric.Router{bad, good}})
	if err == nil {
		t.Error("a port without a MAC was accepted")
	}
	if fabric.Concerns(err, bad.ID) == nil || fabric.Concerns(err, good.ID) != nil {
		t.Errorf("%v: does not concern %s alone", err, bad.ID)
	}
	defer launch(t, rig, good.Ports[0])() // what could be done was done
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rig.Network.Apply(ctx, fabric.Config{Routers: []fabric.Router{good}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply with a cancelled context: %v", err)
	}
}

// remotes returns n addresses that no port of Router has, on two hosts.
func remotes(n int) []fabric.Remote {
	var out []fabric.Remote
	for i := range n {
		out = append(out, fabric.Remote{Addr: netip.AddrFrom4([4]byte{10, 9, 8, byte(i)}), Host: netip.AddrFrom4([4]byte{192, 0, 2, byte(101 + i%2)}), Port: fmt.Sprint("eni-", i)})
	}
	return out
}

func testRemotes(t *testing.T, rig Rig) {
	r := Router("vpc-1", 2)
	away := fabric.Remote{Addr: r.Ports[1].Addr, Host: netip.MustParseAddr("192.0.2.101"), Port: r.Ports[1].ID}
	both := r.Ports
	steps := []struct {
		name   string
		change func()
	}{
		{"other hosts", func() { r.Remotes = remotes(20) }},
		{"another order", func() { r.Remotes[3], r.Remotes[7] = r.Remotes[7], r.Remotes[3] }},
		{"fewer", func() { r.Remotes = remotes(3) }},
		{"a port that goes elsewhere", func() { r.Ports, r.Remotes = both[:1], append(remotes(3), away) }},
		{"and is in both", func() { r.Ports = both }},
		{"a head", func() { r.Exit = away.Host }},
		{"without other hosts", func() { r.Remotes = nil }},
		{"no head", func() { r.Exit = netip.Addr{} }},
		{"a gateway", func() {
			r.Gateway, r.Remotes = true, remotes(3)
			r.Publics = map[netip.Addr]netip.Addr{netip.MustParseAddr("198.51.100.9"): r.Remotes[0].Addr}
		}},
		{"without ports", func() { r.Ports = nil }},
		{"and transit", func() { r.Transit = true }},
		{"transit only", func() { r.Gateway, r.Publics = false, nil }},
		{"another VNI", func() { r.VNI++ }},
	}
	if !r.Wanted() {
		t.Error("a router with ports is not wanted")
	}
	for _, s := range steps {
		s.change()
		for range 2 {
			if err := rig.Network.Apply(t.Context(), fabric.Config{Routers: []fabric.Router{r}}); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
		if !r.Wanted() {
			t.Errorf("%s: not wanted", s.name)
		}
	}
	if r.Transit = false; r.Wanted() {
		t.Error("a router without ports that serves nobody is wanted")
	}
}

func testWrongRemotes(t *testing.T, rig Rig) {
	public := map[netip.Addr]netip.Addr{netip.MustParseAddr("198.51.100.9"): netip.MustParseAddr("10.9.8.0")}
	for name, change := range map[string]func(*fabric.Router){
		"an address twice":                func(r *fabric.Router) { r.Remotes = append(remotes(3), remotes(1)...) },
		"an IPv6 host":                    func(r *fabric.Router) { r.Remotes[0].Host = netip.MustParseAddr("2001:db8::1") },
		"an IPv6 exit":                    func(r *fabric.Router) { r.Exit = netip.MustParseAddr("2001:db8::1") },
		"no host":                         func(r *fabric.Router) { r.Remotes[0].Host = netip.Addr{} },
		"hosts that cannot be told apart": func(r *fabric.Router) { r.Remotes[0].Host = netip.MustParseAddr("208.0.2.102") },
		"no VNI":                          func(r *fabric.Router) { r.VNI = 0 },
		"a VNI of more than 24 bits":      func(r *fabric.Router) { r.VNI = 1 << 24 },
		"a gateway with an exit":          func(r *fabric.Router) { r.Gateway, r.Exit = true, netip.MustParseAddr("192.0.2.101") },
		"public addresses and no gateway": func(r *fabric.Router) { r.Publics = public },
		"a public address here and there": func(r *fabric.Router) {
			r.Gateway, r.Publics, r.Ports[0].Public = true, public, netip.MustParseAddr("198.51.100.9")
		},
		"a public address that is IPv6": func(r *fabric.Router) {
			r.Gateway = true
			r.Publics = map[netip.Addr]netip.Addr{netip.MustParseAddr("2001:db8::1"): {}}
		},
	} {
		r := Router("vpc-1", 1)
		r.Remotes = remotes(4)
		change(&r)
		if err := rig.Network.Apply(t.Context(), fabric.Config{Routers: []fabric.Router{r}}); err == nil {
			t.Errorf("%s: was accepted", name)
		}
	}
}

func testRestart(t *testing.T, rig Rig) {
	if rig.Reopen == nil {
		t.Skip("has no state outside its process")
	}
	r := Router("vpc-1", 3)
	apply(t, rig.Network, r)
	defer launch(t, rig, r.Ports[0])()
	if err := rig.Network.OpenPort(t.Context(), r.Ports[1]); err != nil {
		t.Fatal(err)
	}
	defer rig.Open(t, r.Ports[1])() // started, and then the process died
	rig.Network = rig.Reopen(t)
	apply(t, rig.Network, r)
	for i := range 2 {
		if err := rig.Network.Plug(t.Context(), r.Ports[i].ID); err != nil {
			t.Errorf("port %d after the restart: %v", i, err)
		}
	}
	defer launch(t, rig, r.Ports[2])()
	apply(t, rig.Network)
}

func testClose(t *testing.T, rig Rig) {
	r := Router("vpc-1", 1)
	apply(t, rig.Network, r)
	for range 2 {
		if err := rig.Network.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, err := range map[string]error{
		"Apply":    rig.Network.Apply(t.Context(), fabric.Config{Routers: []fabric.Router{r}}),
		"OpenPort": rig.Network.OpenPort(t.Context(), r.Ports[0]),
		"Plug":     rig.Network.Plug(t.Context(), r.Ports[0].ID),
	} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}
