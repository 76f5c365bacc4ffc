package fabric_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"eucad/net/fabric"
)

// behind makes the first of routers its VPC's gateway, and the exit of the others.
func behind(head *host, routers []fabric.Router) []fabric.Router {
	routers[0].Gateway, routers[0].Publics = true, map[netip.Addr]netip.Addr{}
	for i := range routers[1:] {
		r := &routers[i+1]
		r.Exit = head.addr
		for _, p := range r.Ports {
			if p.Public.IsValid() {
				routers[0].Publics[p.Public] = p.Addr
			}
		}
	}
	return routers
}

// TestHead has the first of three hosts answer for the public addresses of all.
func TestHead(t *testing.T) {
	hosts := site(t, 3, 1)
	a, b, c, d, e := full(10), full(11), full(12), full(13), full(14)
	a.Public, b.Public, d.Public = ip("203.0.113.130"), ip("203.0.113.131"), ip("203.0.113.132")
	one := behind(hosts[0], spread(hosts, []fabric.Port{d, e}, []fabric.Port{a, c}, []fabric.Port{b}))
	x := port(2, 10)
	two := behind(hosts[0], spread(hosts, nil, nil, []fabric.Port{x}))
	both := func() {
		t.Helper()
		for i, h := range hosts {
			one[i].Groups[0].Ingress = append(one[i].Groups[0].Ingress, fabric.Rule{Protocol: 1, From: -1, To: -1, Prefixes: everybody()})
			two[i].ID, two[i].VNI = "vpc-2", 2
			var rs []fabric.Router
			for _, r := range []fabric.Router{one[i], two[i]} {
				if r.Wanted() {
					rs = append(rs, r)
				}
			}
			h.apply(rs...)
		}
	}
	both()
	world := &guest{t: t, ns: mustNS(t, "world"), port: fabric.Port{Addr: ip("203.0.113.9")}}
	world.serve(80)
	ga, gb, gc := hosts[1].boot(a).serve(80).serve(81), hosts[2].boot(b).serve(80), hosts[1].boot(c)
	gd, ge, gx := hosts[0].boot(d).serve(80), hosts[0].boot(e), hosts[2].boot(x)

	world.reaches("203.0.113.130:80", "203.0.113.9")
	world.reaches("203.0.113.132:80", "203.0.113.9") // on the head itself
	world.blocked("203.0.113.130:81")
	ga.reaches("203.0.113.9:80", "203.0.113.130")
	gd.reaches("203.0.113.9:80", "203.0.113.132")
	for _, g := range []*guest{gc, ge, gx} { // without a public address
		g.reaches("203.0.113.9:80", "203.0.113.1")
	}
	// Public addresses within the VPC, from another one, and one's own.
	ga.reaches("203.0.113.131:80", "203.0.113.130")
	ga.reaches("203.0.113.132:80", "203.0.113.130")
	gd.reaches("203.0.113.131:80", "203.0.113.132")
	ga.reaches("203.0.113.130:80", "203.0.113.130")
	ge.reaches("203.0.113.131:80", "10.0.0.14")
	for _, g := range []*guest{gc, gx} {
		if got, err := g.ask("203.0.113.131:80"); err != nil || !strings.HasPrefix(got, "100.127.") {
			t.Errorf("%s → public address: %q, %v", g.port.Addr, got, err)
		}
	}
	ga.reaches("10.0.0.11:80", "10.0.0.10") // privately they need no head
	if got := hosts[0].sh("ip -br link show type vxlan; ip route show proto 158 | wc -l"); got != "3" {
		t.Errorf("public routes of the head: %s, want 3", got)
	}
	for _, h := range hosts[1:] {
		if got := h.sh("ip route show proto 158; ip neigh show proxy"); got != "" {
			t.Errorf("host %d answers for public addresses: %s", h.number, got)
		}
	}
	if ga.ping("100.127.0.0") || ga.ping("169.254.7.7") {
		t.Error("a guest reaches what is not for guests")
	}

	// From outside comes what is too large for the tunnel. The router's address
	// in the answer is the guest's.
	out, _ := world.try("ping -c 1 -W 1 -M do -s 1472 203.0.113.130")
	if !strings.Contains(out, "From 203.0.113.130") || !strings.Contains(out, "mtu = 1450") {
		t.Errorf("too large from outside: %s", out)
	}
	if world.sh("ip route flush cache"); !world.pingAll("203.0.113.130", 1450) {
		t.Error("the largest that fits is lost")
	}

	// The address goes from a guest to one on another host, and the guest to one
	// without.
	one[0].Publics = map[netip.Addr]netip.Addr{a.Public: b.Addr}
	one[1].Ports[0].Public, one[2].Ports[0].Public = netip.Addr{}, a.Public
	both()
	ga.reaches("203.0.113.9:80", "203.0.113.1")
	gb.reaches("203.0.113.9:80", "203.0.113.130")
	world.reaches("203.0.113.130:80", "203.0.113.9")
	world.blocked("203.0.113.131:80")

	// The head's eucad starts anew.
	conn, err := gb.dial("203.0.113.9:80", patience)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	hosts[0].Close()
	gb.reaches("203.0.113.9:80", "203.0.113.130")
	hosts[0].open()
	gb.reaches("203.0.113.9:80", "203.0.113.130")
	both()
	gb.reaches("203.0.113.9:80", "203.0.113.130")

	// Without its exit, a router leads nowhere, and not out by the node.
	for i := range one {
		one[i].Gateway, one[i].Publics = false, nil
	}
	both()
	gc.blocked("203.0.113.9:80")
	world.blocked("203.0.113.130:80")
}

// TestZones joins two zones: their nodes know their own heads only.
func TestZones(t *testing.T) {
	hosts := site(t, 4, 0)
	nodeA, headA, headB, nodeB := hosts[0], hosts[1], hosts[2], hosts[3]
	a, b := full(10), full(11)
	routers := spread(hosts, []fabric.Port{a}, nil, nil, []fabric.Port{b})
	routers[0].Remotes = remotes(headA, b)
	routers[1].Remotes = append(remotes(nodeA, a), remotes(headB, b)...)
	routers[2].Remotes = append(remotes(headA, a), remotes(nodeB, b)...)
	routers[3].Remotes = remotes(headB, a)
	routers[1].Transit, routers[2].Transit = true, true
	all := func() {
		t.Helper()
		for i, h := range hosts {
			routers[i].Groups[0].Ingress = append(routers[i].Groups[0].Ingress, fabric.Rule{Protocol: 1, From: -1, To: -1, Prefixes: everybody()})
			h.apply(routers[i])
		}
	}
	all()
	ga, gb := nodeA.boot(a), nodeB.boot(b)
	gb.echo()
	if err := ga.pull("10.0.0.11:80", 1<<20); err != nil || !ga.pingAll("10.0.0.11", 1450) {
		t.Errorf("from zone to zone: %v", err)
	}
	gb.blocked("10.0.0.10:81")
	// Both heads are needed for that, and pass on nothing else.
	if got := strings.Fields(headA.inside("vpc-1", "grep -h vx0: /proc/net/dev")); len(got) < 3 || got[2] == "0" {
		t.Errorf("nothing went through the head: %v", got)
	}
	// The path narrows between the zones: guests are told by the head.
	headB.opt.MTU = 1300
	headA.opt.MTU = 1300
	for _, h := range []*host{headA, headB} {
		h.Close()
		h.open()
	}
	all()
	if ga.pingAll("10.0.0.11", 1450) {
		t.Error("a packet larger than the path got through")
	}
	if out, _ := ga.try("ip route get 10.0.0.11"); !strings.Contains(out, "mtu 1300") {
		t.Errorf("the path's MTU is not known: %s", out)
	}
	if err := ga.pull("10.0.0.11:80", 1<<20); err != nil {
		t.Errorf("from zone to zone by a narrower path: %v", err)
	}
	routers[2].Transit = false
	headB.apply(routers[2])
	if c, err := ga.dial("10.0.0.11:80", patience); err == nil {
		c.Close()
		t.Error("a head that is no transit passes packets on")
	}
}

// TestManyRemotes changes one of 10,000 addresses.
func TestManyRemotes(t *testing.T) {
	hosts := site(t, 1, 0)
	r := vpc("vpc-1", port(1, 10))
	for i := range 10_000 {
		r.Remotes = append(r.Remotes, fabric.Remote{Addr: netip.AddrFrom4([4]byte{10, 0, 10 + byte(i>>8), byte(i)}), Host: netip.AddrFrom4([4]byte{10, 0, 200, byte(i % 250)}), Port: fmt.Sprint("eni-", i)})
	}
	start := time.Now()
	hosts[0].apply(r)
	t.Logf("10,000 remote addresses: %v", time.Since(start))
	count := func() string {
		return hosts[0].inside("vpc-1", "ip route show dev vx0 | wc -l; ip neigh show dev vx0 | wc -l; bridge fdb show dev vx0 | wc -l")
	}
	if got := strings.Fields(count()); strings.Join(got, " ") != "10000 250 250" {
		t.Errorf("routes, neighbours and FDB entries: %v", got)
	}
	before := hosts[0].inside("vpc-1", "ip route | sort | md5sum")
	r.Remotes = append([]fabric.Remote(nil), r.Remotes...)
	r.Remotes[7].Host = ip("10.0.200.249")
	r.Remotes[8] = fabric.Remote{Addr: ip("10.0.99.8"), Host: ip("10.0.201.1")}
	start = time.Now()
	hosts[0].apply(r)
	t.Logf("one of them: %v", time.Since(start))
	if got := hosts[0].inside("vpc-1", "ip route show 10.0.10.7; ip route show 10.0.10.8; ip route show 10.0.99.8"); got != "10.0.10.7 via 250.0.200.249 dev vx0 proto 158 onlink \n10.0.99.8 via 250.0.201.1 dev vx0 proto 158 onlink" {
		t.Errorf("routes of what changed:\n%s", got)
	}
	// Also by a process that starts.
	hosts[0].Close()
	start = time.Now()
	hosts[0].open()
	r.Remotes = r.Remotes[:9999]
	r.Remotes[7].Host, r.Remotes[8] = ip("10.0.200.7"), fabric.Remote{Addr: ip("10.0.10.8"), Host: ip("10.0.200.8"), Port: "eni-8"}
	hosts[0].apply(r)
	t.Logf("a new process: %v", time.Since(start))
	if got := strings.Fields(count()); strings.Join(got, " ") != "9999 250 250" {
		t.Errorf("routes, neighbours and FDB entries: %v", got)
	}
	r.Remotes = append(r.Remotes, fabric.Remote{Addr: netip.AddrFrom4([4]byte{10, 0, 10 + byte(9999>>8), byte(9999 & 255)}), Host: ip("10.0.200.249"), Port: "eni-9999"})
	hosts[0].apply(r)
	if after := hosts[0].inside("vpc-1", "ip route | sort | md5sum"); after != before {
		t.Error("the routes are not as they were")
	}
}
