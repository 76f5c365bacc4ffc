package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"eucad/net/fabric"
)

var addrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func tunnel(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

// site is a cloud of two zones: az1 with the head h1 and the nodes a and b, in
// a regime, az2 with the head h2 and the node c.
func site(regime Regime) *Hosts {
	return &Hosts{Rev: 1,
		Hosts: map[string]Host{
			"h1": {Zone: "az1", Tunnel: tunnel(1)}, "a": {Zone: "az1", Tunnel: tunnel(2)}, "b": {Zone: "az1", Tunnel: tunnel(3)},
			"h2": {Zone: "az2", Tunnel: tunnel(4)}, "c": {Zone: "az2", Tunnel: tunnel(5)},
		},
		Zones: map[string]Zone{"az1": {Head: "h1", Regime: regime}, "az2": {Head: "h2", Regime: Edge}},
	}
}

func iface(n int, host string) Iface {
	ip := netip.AddrFrom4([4]byte{172, 31, 0, byte(n)})
	p := fabric.Port{ID: fmt.Sprintf("eni-%d", n), Addr: ip, Groups: []string{"sg-1"}}
	if n == 2 {
		p.Public = netip.MustParseAddr("198.18.0.2")
	}
	return Iface{Port: p, Host: host, Instance: fmt.Sprintf("i-%d", n)}
}

func vpc() *Vpc {
	return &Vpc{ID: "vpc-1", Rev: 5, VNI: 7, Groups: map[string]Group{"sg-1": {}}, Ifaces: map[string]Iface{
		"eni-1": iface(1, "a"), "eni-2": iface(2, "b"), "eni-3": iface(3, "c"), "eni-4": iface(4, ""),
	}}
}

func TestNewRouter(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		regime                 Regime
		me                     string
		ports                  int
		via                    map[string]netip.Addr // the way to the last byte of each remote address
		exit                   netip.Addr
		transit, gateway, none bool
		publics                int
	}{
		{name: "node, edge", regime: Edge, me: "a", ports: 1, via: map[string]netip.Addr{"2": tunnel(3), "3": tunnel(1)}},
		{name: "node, head", regime: Head, me: "a", ports: 1, via: map[string]netip.Addr{"2": tunnel(3), "3": tunnel(1)}, exit: tunnel(1)},
		{name: "head, edge", regime: Edge, me: "h1", via: map[string]netip.Addr{"1": tunnel(2), "2": tunnel(3), "3": tunnel(4)}, transit: true},
		{name: "head, head", regime: Head, me: "h1", via: map[string]netip.Addr{"1": tunnel(2), "2": tunnel(3), "3": tunnel(4)}, transit: true, gateway: true, publics: 1},
		{name: "other zone's node", regime: Edge, me: "c", ports: 1, via: map[string]netip.Addr{"1": tunnel(4), "2": tunnel(4)}},
		{name: "other zone's head", regime: Edge, me: "h2", via: map[string]netip.Addr{"1": tunnel(1), "2": tunnel(1), "3": tunnel(5)}, transit: true},
		{name: "a stranger", regime: Edge, me: "nobody", none: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, ok := NewRouter(vpc(), site(tt.regime), tt.me)
			if ok == tt.none {
				t.Fatalf("wanted = %v", ok)
			}
			if tt.none {
				return
			}
			via := map[string]netip.Addr{}
			for _, m := range r.Remotes {
				via[fmt.Sprint(m.Addr.As4()[3])] = m.Host
			}
			if d := cmp.Diff(tt.via, via, addrs); d != "" {
				t.Errorf("remotes (-want +got):\n%s", d)
			}
			if len(r.Ports) != tt.ports || r.Exit != tt.exit || r.Transit != tt.transit || r.Gateway != tt.gateway || len(r.Publics) != tt.publics {
				t.Errorf("%d ports, exit %v, transit %v, gateway %v, publics %v", len(r.Ports), r.Exit, r.Transit, r.Gateway, r.Publics)
			}
			if got := len(r.Groups[0].Members); got != 4 {
				t.Errorf("the group has %d members, want 4, on whatever host", got)
			}
		})
	}
}

// What updates make of a document is what the document is.
func TestUpdates(t *testing.T) {
	have, want := &Vpc{}, vpc()
	tell := func(u VpcUpdate) {
		t.Helper()
		b, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		var got VpcUpdate
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if err := have.Update(got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, have, addrs); d != "" {
			t.Errorf("document (-want +got):\n%s", d)
		}
	}
	tell(VpcUpdate{ID: "vpc-1", Whole: want})
	moved := iface(3, "a")
	want.Ifaces["eni-3"], want.Rev = moved, 6
	delete(want.Ifaces, "eni-4")
	tell(VpcUpdate{ID: "vpc-1", Base: 5, Rev: 6, Ifaces: map[string]*Iface{"eni-3": &moved, "eni-4": nil}})
	group := Group{Ingress: []fabric.Rule{{Protocol: 6, From: 22, To: 22}}}
	want.Groups["sg-2"], want.Rev = group, 9
	delete(want.Groups, "sg-1")
	tell(VpcUpdate{ID: "vpc-1", Base: 6, Rev: 9, Groups: map[string]*Group{"sg-2": &group, "sg-1": nil}})
	if err := have.Update(VpcUpdate{ID: "vpc-1", Base: 6, Rev: 10}); !errors.Is(err, ErrBase) {
		t.Errorf("an update of another revision: %v", err)
	}
	var h Hosts
	host := Host{Zone: "z"}
	if err := h.Update(HostsUpdate{Rev: 3, Hosts: map[string]*Host{"n": &host}}); err != nil || h.Hosts["n"] != host || h.Rev != 3 {
		t.Errorf("hosts %+v, %v", h, err)
	}
	if err := h.Update(HostsUpdate{Base: 2, Rev: 4}); !errors.Is(err, ErrBase) {
		t.Errorf("hosts of another revision: %v", err)
	}
}
