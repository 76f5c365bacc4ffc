package fabric_test

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"eucad/net/fabric"
	"eucad/net/mesh"
)

// join makes a mesh of the hosts, to be used by the Fabrics that they open next.
func join(t testing.TB, hosts []*host) []*mesh.Mesh {
	t.Helper()
	out := make([]*mesh.Mesh, len(hosts))
	confs := make([]mesh.Config, len(hosts))
	for i := range hosts {
		key, err := mesh.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		confs[i] = mesh.Config{PrivateKey: key, ListenPort: 51820, Addr: netip.PrefixFrom(meshAddr(i), 16)}
	}
	for i, h := range hosts {
		for j := range hosts {
			if i != j {
				confs[i].Peers = append(confs[i].Peers, mesh.Peer{PublicKey: confs[j].PrivateKey.Public(), Endpoint: netip.AddrPortFrom(hosts[j].addr, 51820),
					Addrs: []netip.Prefix{netip.PrefixFrom(meshAddr(j), 32)}})
			}
		}
		err := h.ns.Do(func() (err error) { out[i], err = mesh.New(slog.New(slog.DiscardHandler)); return err })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { out[i].Close() })
		if err := out[i].Apply(t.Context(), confs[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range hosts {
		h.Close()
		h.addr = meshAddr(i)
		h.opt.Tunnel = fabric.Tunnel{Addr: h.addr, Mesh: true}
		h.open()
	}
	return out
}

func meshAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 200, 0, byte(i + 1)}) }

// TestMesh has the tunnel ride on a mesh.
func TestMesh(t *testing.T) {
	hosts := site(t, 2, 0)
	meshes := join(t, hosts)
	t.Logf("mesh in %s", meshes[0].Mode())
	a, b := full(10), full(11)
	a.MTU, b.MTU = 0, 0 // the fabric's default
	routers := spread(hosts, []fabric.Port{a}, []fabric.Port{b})
	for i, h := range hosts {
		routers[i].Groups[0].Ingress = append(routers[i].Groups[0].Ingress, fabric.Rule{Protocol: 1, From: -1, To: -1, Prefixes: everybody()})
		h.apply(routers[i])
		h.sh(`nft 'add table inet watch; add chain inet watch in { type filter hook input priority -400; }; add rule inet watch in iifname eth0 udp dport 4789 counter; add rule inet watch in iifname eth0 udp dport 51820 counter'`)
	}
	for i, p := range []*fabric.Port{&a, &b} {
		if err := hosts[i].OpenPort(t.Context(), *p); err != nil {
			t.Fatal(err)
		}
		if got := hosts[i].sh("cat /sys/class/net/" + p.Tap + "/mtu 2>/dev/null || ip link show " + p.Tap); !strings.Contains(got, "1370") {
			t.Errorf("MTU of a port on a mesh over Ethernet: %s, want 1370", got)
		}
		p.MTU = 1370
	}
	ga, gb := hosts[0].boot(a), hosts[1].boot(b)
	gb.echo()
	for i := 0; i < 15 && !ga.ping("10.0.0.11"); i++ { // hosts that miss each other's greeting try again after 5 s
	}
	if !ga.pingAll("10.0.0.11", 1370) {
		t.Error("a packet of the whole MTU is lost")
	}
	if err := ga.pull("10.0.0.11:80", 1<<20); err != nil {
		t.Errorf("TCP over the mesh: %v", err)
	}
	got := hosts[1].sh("nft list table inet watch")
	if !strings.Contains(got, "dport 4789 counter packets 0 ") || strings.Contains(got, "dport 51820 counter packets 0 ") {
		t.Errorf("the tunnel goes past the mesh: %s", got)
	}

	// The mesh is not for guests, and VXLAN comes by it alone.
	if ga.ping("10.200.0.2") || ga.ping("10.200.0.1") {
		t.Error("a guest is on the mesh")
	}
	hosts[0].sh("ip addr add 10.200.0.1/32 dev eth0; ip route add 10.200.0.2/32 via 10.0.0.2 src 10.200.0.1")
	if ga.ping("10.0.0.11") {
		t.Error("VXLAN that came past the mesh was accepted")
	}
	hosts[0].sh("ip route del 10.200.0.2/32; ip addr del 10.200.0.1/32 dev eth0")
	if !ga.ping("10.0.0.11") {
		t.Error("the mesh is lost")
	}

	// When the mesh ends with its process, nothing leaves the host in the clear.
	clear := func() string { return hosts[1].sh("nft list table inet watch | grep 4789") }
	before := clear()
	meshes[0].Close()
	if meshes[1].Mode() == mesh.User && (ga.ping("10.0.0.11") || clear() != before) {
		t.Errorf("guests reach each other without the mesh: %s, before %s", clear(), before)
	}
}
