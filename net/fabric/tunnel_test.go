package fabric_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"eucad/net/fabric"
)

// full is a port whose guest uses all of what the tunnel carries.
func full(n int) fabric.Port {
	p := port(1, n)
	p.MTU = 1450
	return p
}

// pingAll is ping with a packet of the size given that must not be fragmented.
func (g *guest) pingAll(a string, size int) bool {
	_, err := g.try("ping -c 1 -W 1 -M do -s %d %s", size-28, a)
	return err == nil
}

// pull has the other side, an echo, return n bytes.
func (g *guest) pull(addr string, n int) error {
	c, err := g.dial(addr, 60*time.Second) // a lost SYN is sent again after a second
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	data := bytes.Repeat([]byte("0123456789abcdef"), n/16)
	go c.Write(data)
	got := make([]byte, len(data))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("%d bytes came back changed", n)
	}
	return nil
}

func TestTunnel(t *testing.T) {
	hosts := site(t, 2, 0)
	routers := spread(hosts, []fabric.Port{full(10)}, []fabric.Port{full(11)})
	for i, h := range hosts {
		routers[i].Groups[0].Ingress = append(routers[i].Groups[0].Ingress, fabric.Rule{Protocol: 1, From: -1, To: -1, Prefixes: everybody()})
		h.apply(routers[i])
	}
	a, b := hosts[0].boot(full(10)), hosts[1].boot(full(11)).serve(81)
	b.echo()
	if !a.ping("10.0.0.11") || !b.ping("10.0.0.10") {
		t.Error("no ping from host to host")
	}
	if !a.pingAll("10.0.0.11", 1450) {
		t.Error("a packet of the whole MTU is lost")
	}
	if err := a.pull("10.0.0.11:80", 1<<20); err != nil {
		t.Errorf("TCP: %v", err)
	}
	a.blocked("10.0.0.11:81")
	for _, h := range hosts {
		if got := h.sh("awk '/^Ip: [0-9]/ {print $19}' /proc/net/snmp"); got != "0" {
			t.Errorf("host %d fragmented %s packets", h.number, got)
		}
	}

	// What is larger than the tunnel is told so, and gets through smaller.
	a.sh("ip link set eth0 mtu 1500")
	b.sh("ip link set eth0 mtu 1500")
	if a.pingAll("10.0.0.11", 1451) {
		t.Error("a packet larger than the MTU got through in one piece")
	}
	if out, _ := a.try("ip route get 10.0.0.11"); !strings.Contains(out, "mtu 1450") {
		t.Errorf("the path's MTU is not known: %s", out)
	}
	if err := a.pull("10.0.0.11:80", 1<<20); err != nil {
		t.Errorf("TCP with MTU 1500: %v", err)
	}

	// Nobody is left behind when the tunnel isn't needed any more.
	routers[0].Remotes = nil
	hosts[0].apply(routers[0])
	if got := hosts[0].inside("vpc-1", "ip -br link show type vxlan"); got != "" {
		t.Errorf("a tunnel to nobody: %s", got)
	}
	a.blocked("10.0.0.11:80")
}

// TestTunnelGroups has security groups judge what comes from another host.
func TestTunnelGroups(t *testing.T) {
	hosts := site(t, 2, 0)
	routers := spread(hosts, []fabric.Port{port(1, 10), port(1, 12)}, []fabric.Port{port(1, 11)})
	routers[0].Groups[0].Members = nil
	web := fabric.Group{ID: "sg-web", Members: []netip.Addr{ip("10.0.0.10")}, Egress: routers[0].Groups[0].Egress}
	db := fabric.Group{ID: "sg-db", Ingress: []fabric.Rule{{Protocol: 6, From: 5432, To: 5432, Groups: []string{"sg-web"}}}}
	both := func() {
		t.Helper()
		for i, h := range hosts {
			routers[i].Groups = []fabric.Group{routers[0].Groups[0], web, db}
			h.apply(routers[i])
		}
	}
	routers[0].Ports[0].Groups, routers[0].Ports[1].Groups, routers[1].Ports[0].Groups = []string{"sg-web"}, []string{"sg-open"}, []string{"sg-db"}
	both()
	a, c, b := hosts[0].boot(port(1, 10)), hosts[0].boot(port(1, 12)).serve(80), hosts[1].boot(port(1, 11)).serve(5432).serve(80)
	a.reaches("10.0.0.11:5432", "10.0.0.10") // its answers need no egress rule
	a.blocked("10.0.0.11:80")
	c.blocked("10.0.0.11:5432") // no member of sg-web
	b.blocked("10.0.0.12:80")   // no egress rule
	db.Egress = []fabric.Rule{{Protocol: 6, From: 80, To: 80, Groups: []string{"sg-open"}}}
	both()
	b.blocked("10.0.0.12:80") // no member of sg-open, so far
	routers[0].Groups[0].Members = []netip.Addr{ip("10.0.0.12")}
	both()
	b.reaches("10.0.0.12:80", "10.0.0.11")
	web.Egress = nil
	both()
	a.blocked("10.0.0.11:5432")
}

// TestMove has a guest go on elsewhere, in the middle of a connection.
func TestMove(t *testing.T) {
	hosts := site(t, 3, 0)
	client, server := port(1, 10), port(1, 11)
	for i, r := range spread(hosts, []fabric.Port{client}, []fabric.Port{server}, nil) {
		hosts[i].apply(r)
	}
	a, b := hosts[0].boot(client), hosts[1].boot(server)
	b.echo()
	b.serve(81)
	c, err := a.dial("10.0.0.11:80", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	talk := func(when string) {
		t.Helper()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	talk("before")
	// Onto the third host, next to the client, and back.
	for _, to := range []int{2, 0, 1} {
		at := make([][]fabric.Port, 3)
		at[0] = []fabric.Port{client}
		at[to] = append(at[to], server)
		for i, r := range spread(hosts, at...) {
			hosts[i].apply(r)
		}
		b.move(hosts[to])
		talk(fmt.Sprintf("on host %d", to+1))
	}

	// Another guest that gets its address gets nothing of its connection.
	tracked := func() string {
		return hosts[0].inside("vpc-1", "cat /proc/net/nf_conntrack | grep -c ESTABLISHED || true")
	}
	if got := tracked(); got != "1" {
		t.Skipf("the kernel shows %s tracked connections, not 1", got)
	}
	server.ID = "eni-other"
	for i, r := range spread(hosts, []fabric.Port{client}, []fabric.Port{server}, nil) {
		hosts[i].apply(r)
	}
	if got := tracked(); got != "0" {
		t.Errorf("%s connections are tracked when the address is another's, want 0", got)
	}
}

// move has the guest go on with the tap of its port on another host.
func (g *guest) move(to *host) {
	g.t.Helper()
	if err := to.OpenPort(g.t.Context(), g.port); err != nil {
		g.t.Fatal(err)
	}
	g.far.Close()
	far, near := openTap(g.t, to.ns, g.port.Tap), g.near
	g.far = far
	go relay(near, far)
	go relay(far, near)
	if err := to.Plug(g.t.Context(), g.port.ID); err != nil {
		g.t.Fatal(err)
	}
}

// TestTunnelRestart counts what is lost while a Fabric ends and another begins.
func TestTunnelRestart(t *testing.T) {
	hosts := site(t, 2, 0)
	routers := spread(hosts, []fabric.Port{port(1, 10)}, []fabric.Port{port(1, 11)})
	for i, h := range hosts {
		routers[i].Groups[0].Ingress = append(routers[i].Groups[0].Ingress, fabric.Rule{Protocol: 1, From: -1, To: -1, Prefixes: everybody()})
		h.apply(routers[i])
	}
	a, _ := hosts[0].boot(port(1, 10)), hosts[1].boot(port(1, 11))
	a.ping("10.0.0.11")
	state := listLinks + "; ip route; ip -4 addr show dev lo; ip neigh show nud permanent; bridge fdb show dev vx0"
	before := hosts[1].inside("vpc-1", state)
	lost := make(chan string)
	go func() {
		out, _ := a.try("ping -q -i 0.002 -c 1500 -W 5 10.0.0.11")
		lost <- out
	}()
	for range 5 {
		time.Sleep(200 * time.Millisecond)
		hosts[1].Close()
		time.Sleep(50 * time.Millisecond)
		hosts[1].open()
		time.Sleep(50 * time.Millisecond)
		hosts[1].apply(routers[1])
	}
	if out := <-lost; !strings.Contains(out, " 0% packet loss") {
		t.Errorf("packets were lost:\n%s", out)
	}
	if after := hosts[1].inside("vpc-1", state); after != before {
		t.Errorf("the network changed:\n%s\nwas\n%s", after, before)
	}
	// And what another process left is found: also an end that nobody wants now.
	hosts[1].Close()
	hosts[1].open()
	routers[1].Remotes = []fabric.Remote{{Addr: ip("10.0.0.77"), Host: ip("10.0.0.99")}}
	hosts[1].apply(routers[1])
	if got := hosts[1].inside("vpc-1", "ip route show dev vx0; ip neigh show dev vx0; bridge fdb show dev vx0"); strings.Contains(got, "0.0.1") || strings.Contains(got, "10.0.0.10 ") {
		t.Errorf("left: %s", got)
	}
}

// TestTunnelSpoofing sends VXLAN from where it must not come.
func TestTunnelSpoofing(t *testing.T) {
	hosts := site(t, 3, 0)
	routers := spread(hosts[:2], []fabric.Port{port(1, 10)}, []fabric.Port{port(1, 11)})
	for i := range routers {
		routers[i].Groups[0].Ingress = []fabric.Rule{{Protocol: -1, From: -1, To: -1, Prefixes: everybody()}}
		hosts[i].apply(routers[i])
	}
	a, b := hosts[0].boot(port(1, 10)), hosts[1].boot(port(1, 11))
	a.ping("10.0.0.11")
	got := b.receive(5555)
	frame := vxlanFrame(routers[0].VNI, hosts[1].addr, "10.0.0.10", "10.0.0.11", 5555)
	send := func(from func(func() error) error, to string) {
		t.Helper()
		err := from(func() error {
			c, err := net.Dial("udp4", to)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write(frame)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	send(hosts[0].ns.Do, "10.0.0.2:4789") // a known host: the frame is good
	if !got() {
		t.Fatal("a frame of a known host is lost; the others prove nothing")
	}
	for name, from := range map[string]func(func() error) error{
		"a foreign host":        hosts[2].ns.Do,
		"a guest of that host":  b.ns.Do,
		"a guest of the other":  a.ns.Do,
		"the host's own router": mustNS(t, "h2-vpc-1").Do,
	} {
		for _, to := range []string{"10.0.0.2:4789", "100.127.0.0:4789"} {
			if name == "a foreign host" && to != "10.0.0.2:4789" {
				continue
			}
			send(from, to)
			if got() {
				t.Errorf("a frame from %s to %s got in", name, to)
			}
		}
	}
	// A host that is an end no more is a stranger.
	routers[1].Remotes = nil
	hosts[1].apply(routers[1])
	routers[1].Remotes = []fabric.Remote{{Addr: ip("10.0.0.77"), Host: ip("10.0.0.99")}}
	hosts[1].apply(routers[1])
	send(hosts[0].ns.Do, "10.0.0.2:4789")
	if got() {
		t.Error("a frame from a host that went got in")
	}
}

// TestTunnelLoss loses 1 % of what goes between hosts.
func TestTunnelLoss(t *testing.T) {
	hosts := site(t, 2, 0)
	for i, r := range spread(hosts, []fabric.Port{full(10)}, []fabric.Port{full(11)}) {
		hosts[i].apply(r)
	}
	a, b := hosts[0].boot(full(10)), hosts[1].boot(full(11))
	b.echo()
	for _, h := range hosts {
		h.sh(`nft 'add table inet loss; add chain inet loss in { type filter hook prerouting priority -400; }; add rule inet loss in iifname eth0 udp dport 4789 numgen random mod 100 0 counter drop'`)
	}
	if err := a.pull("10.0.0.11:80", 4<<20); err != nil {
		t.Errorf("TCP with 1 %% loss: %v", err)
	}
	if got := hosts[0].sh("nft list table inet loss"); strings.Contains(got, "packets 0 ") {
		t.Errorf("nothing was lost: %s", got)
	}
}
