package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"eucad/net/fabric"
	"eucad/net/link"
)

// A host is one of several, each with a network namespace and a Fabric.
type host struct {
	*fabric.Fabric
	t      testing.TB
	number int
	addr   netip.Addr // in the network between hosts
	ns     *link.NS
	opt    fabric.Options
}

// site makes n hosts with a network between them: host 1 has the address
// 10.0.0.1 in it, which is a gateway's address in the VPCs of the tests, too. The
// public network of head, unless that is 0, has "world" in it, 203.0.113.9.
func site(t testing.TB, n, head int) []*host {
	t.Helper()
	needHost(t)
	run(t, "ip netns add switch && ip -n switch link add name br0 type bridge && ip -n switch link set br0 up")
	t.Cleanup(func() { run(t, "ip netns del switch") })
	var out []*host
	for i := 1; i <= n; i++ {
		out = append(out, newHost(t, i))
	}
	if head > 0 {
		h := out[head-1]
		run(t, `ip netns add world && ip -n world link add name eth0 type veth peer name eth1 netns `+h.name()+`
			ip -n world addr add 203.0.113.9/24 dev eth0 && ip -n world link set eth0 up && ip -n world link set lo up`)
		t.Cleanup(func() { run(t, "ip netns del world") })
		h.sh("ip addr add 203.0.113.1/24 dev eth1 && ip link set eth1 up && ip route add default via 203.0.113.9")
	}
	for i, h := range out {
		h.opt = fabric.Options{Tunnel: fabric.Tunnel{Addr: h.addr}, PublicPrefix: publicNet}
		if i == head-1 {
			h.opt.PublicPrefix, h.opt.PublicInterface = netip.MustParsePrefix("203.0.113.128/25"), "eth1"
		}
		h.open()
	}
	return out
}

func newHost(t testing.TB, i int) *host {
	t.Helper()
	h := &host{t: t, number: i, addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}
	run(t, fmt.Sprintf(`ip netns add %[1]s && ip -n %[1]s link set lo up
		ip -n switch link add name port%[2]d type veth peer name eth0 netns %[1]s
		ip -n switch link set port%[2]d master br0 up
		ip -n %[1]s addr add %[3]s/24 dev eth0 && ip -n %[1]s link set eth0 up`, h.name(), i, h.addr))
	t.Cleanup(func() { run(t, "ip netns del "+h.name()) })
	h.ns = mustNS(t, h.name())
	return h
}

func (h *host) name() string { return fmt.Sprintf("host%d", h.number) }

// open starts the host's Fabric.
func (h *host) open() {
	h.t.Helper()
	f, err := fabric.NewHost(h.opt, h.ns, fmt.Sprintf("h%d-", h.number))
	if err != nil {
		h.t.Fatal(err)
	}
	h.Fabric = f
	h.t.Cleanup(func() {
		if err := f.Apply(context.Background(), fabric.Config{}); err != nil && !errors.Is(err, fs.ErrClosed) {
			h.t.Error(err)
		}
		f.Close()
	})
}

func (h *host) apply(routers ...fabric.Router) { h.t.Helper(); apply(h.t, h.Fabric, routers...) }

// boot starts a guest of the host with its address configured.
func (h *host) boot(p fabric.Port) *guest {
	h.t.Helper()
	if err := h.OpenPort(h.t.Context(), p); err != nil {
		h.t.Fatal(err)
	}
	g := powerOn(h.t, h.ns, p)
	if err := h.Plug(h.t.Context(), p.ID); err != nil {
		h.t.Fatal(err)
	}
	return g.static(subnetA)
}

// sh runs a command on the host.
func (h *host) sh(command string) string {
	h.t.Helper()
	var out []byte
	err := h.ns.Do(func() (err error) {
		out, err = exec.Command("sh", "-c", command).CombinedOutput()
		return err
	})
	if err != nil {
		h.t.Fatalf("host %d: %s: %v\n%s", h.number, command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// inside runs a command in the host's router of the VPC.
func (h *host) inside(vpc, command string) string {
	h.t.Helper()
	return run(h.t, fmt.Sprintf("ip netns exec h%d-%s sh -c '%s'", h.number, vpc, command))
}

// spread returns a VPC as each of the hosts should have it: at[i] are the ports
// of host i+1, and each host leads to each other directly.
func spread(hosts []*host, at ...[]fabric.Port) []fabric.Router {
	var all []fabric.Port
	for _, ports := range at {
		all = append(all, ports...)
	}
	whole := vpc("vpc-1", all...)
	out := make([]fabric.Router, len(hosts))
	for i := range hosts {
		out[i] = whole
		out[i].Ports = at[i]
		out[i].Remotes = nil
		for j, ports := range at {
			if i != j {
				out[i].Remotes = append(out[i].Remotes, remotes(hosts[j], ports...)...)
			}
		}
	}
	return out
}

// remotes are the addresses of ports that the host, or one behind it, has.
func remotes(h *host, ports ...fabric.Port) []fabric.Remote {
	var out []fabric.Remote
	for _, p := range ports {
		out = append(out, fabric.Remote{Addr: p.Addr, Host: h.addr, Port: p.ID})
	}
	return out
}
