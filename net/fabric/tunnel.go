package fabric

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/netip"
	"slices"

	"eucad/net/link"
)

const (
	tunnelDevice = "vx0" // a router's device towards other hosts
	tunnelPort   = 4789  // UDP (RFC 7348, section 5)
)

// A tunnel is a router's VXLAN device and what it leads to. There is nothing
// to learn for it and nothing to ask: each host is an end of it, with a MAC and
// a next hop that derive from its address, and each remote address has a route.
type tunnel struct {
	device uint32              // index; 0: there is none
	made   link.Vxlan          // as it was made
	mtu    int                 // of it
	known  bool                // the two below are as the kernel has them
	ends   map[netip.Addr]bool // hosts
	routes []Remote            // in order of address
}

// hopOf is the next hop that stands for a host in routes. It is none of the
// host's own address, which may be that of a subnet's gateway too, and thereby
// local to the router, but one of 240.0.0.0/4, which is nobody's (RFC 1112,
// section 4). Nothing is ever sent to it.
func hopOf(host netip.Addr) netip.Addr {
	a := host.As4()
	a[0] |= 0xf0
	return netip.AddrFrom4(a)
}

// endMAC is the MAC of a host's end of tunnels.
func endMAC(host netip.Addr) net.HardwareAddr {
	a := host.As4()
	return net.HardwareAddr{0x06, 0xec, a[0], a[1], a[2], a[3]}
}

// endOf returns the host with that MAC.
func endOf(mac net.HardwareAddr) (netip.Addr, bool) {
	if len(mac) != 6 {
		return netip.Addr{}, false
	}
	a := netip.AddrFrom4([4]byte(mac[2:]))
	return a, slices.Equal(mac, endMAC(a))
}

// findTunnel learns what of a tunnel is in the namespace.
func (r *router) findTunnel() error {
	r.tunnel = tunnel{}
	d, ok, err := r.links.Device(tunnelDevice)
	if err != nil || !ok {
		r.tunnel.known = err == nil
		return err
	}
	t := tunnel{device: d.Index, mtu: d.MTU, known: true, ends: map[netip.Addr]bool{}}
	if d.Up { // else its maker was interrupted, and it is made anew
		if t.made, err = r.links.VxlanOf(d.Index); err != nil {
			return err
		}
	}
	neighbours, err := r.links.Neighbours(d.Index)
	if err != nil {
		return err
	}
	for via, mac := range neighbours {
		if host, ok := endOf(mac); ok && hopOf(host) == via {
			t.ends[host] = true
		}
	}
	byHop := map[netip.Addr]netip.Addr{}
	for host := range t.ends {
		byHop[hopOf(host)] = host
	}
	vias, err := r.links.Vias(d.Index)
	if err != nil {
		return err
	}
	for dest, via := range vias {
		if dest.Bits() == 32 {
			t.routes = append(t.routes, Remote{Addr: dest.Addr(), Host: byHop[via]}) // of no end: none, so that it is made anew
		}
	}
	slices.SortFunc(t.routes, byAddr)
	r.tunnel = t
	return nil
}

// tunnels reports whether the router needs a tunnel.
func (f *Fabric) tunnels(cfg *Router) bool {
	return f.opt.Tunnel.Addr.IsValid() && (len(cfg.Remotes) > 0 || cfg.Exit.IsValid())
}

// reach makes the router's tunnel lead to what cfg says is on other hosts, and
// the default route to where it exits.
func (r *router) reach(cfg Router, remotes []Remote) error {
	if !r.tunnel.known {
		if err := r.findTunnel(); err != nil {
			return err
		}
	}
	if !r.f.tunnels(&cfg) {
		if len(cfg.Remotes) > 0 || cfg.Exit.IsValid() {
			err := errors.New("it reaches other hosts, and this host has no tunnel address")
			if cfg.Exit.IsValid() { // rather nowhere than out by this host
				err = errors.Join(err, r.links.DeleteRoute(link.Route{Dest: everywhere}))
				r.way = link.Route{}
			}
			return err
		}
		b := r.links.Batch()
		if err := r.wayOut(cfg, b)(b.Run()); err != nil {
			return err
		}
		return r.closeTunnel()
	}
	if err := r.openTunnel(cfg.VNI); err != nil {
		return err
	}
	t := &r.tunnel
	ends := endsOf(cfg.Exit, remotes)
	b := r.links.Batch()
	for host := range ends {
		if !t.ends[host] {
			b.PutEnd(t.device, host, hopOf(host), endMAC(host))
		}
	}
	for h, w := range differences(t.routes, remotes) {
		switch {
		case w == nil:
			b.DeleteRoute(link.Route{Dest: netip.PrefixFrom(h.Addr, 32), Device: t.device})
		case h == nil || h.Host != w.Host:
			b.PutRoute(link.Route{Dest: netip.PrefixFrom(w.Addr, 32), Via: hopOf(w.Host), OnLink: true, Device: t.device})
		}
	}
	wayOut := r.wayOut(cfg, b)
	for host := range t.ends {
		if !ends[host] {
			b.DeleteEnd(t.device, host, hopOf(host), endMAC(host))
		}
	}
	t.known = false // until all is done
	if err := wayOut(b.Run()); err != nil {
		return err
	}
	t.ends, t.routes, t.known = ends, remotes, true
	return nil
}

// remotes returns those of cfg that are to be reached, in order of address.
// What is here goes nowhere else, whatever cfg says.
func (f *Fabric) remotes(cfg Router) []Remote {
	here := map[netip.Addr]bool{}
	for i := range cfg.Ports {
		for _, a := range cfg.Ports[i].addrs() {
			here[a] = true
		}
	}
	out := make([]Remote, 0, len(cfg.Remotes))
	for _, m := range cfg.Remotes {
		if m.Host != f.opt.Tunnel.Addr && !here[m.Addr] {
			out = append(out, m)
		}
	}
	if !slices.IsSortedFunc(out, byAddr) {
		slices.SortFunc(out, byAddr)
	}
	return out
}

func byAddr(a, b Remote) int { return a.Addr.Compare(b.Addr) }

// endsOf returns the hosts that the exit and remotes are at.
func endsOf(exit netip.Addr, remotes []Remote) map[netip.Addr]bool {
	ends := map[netip.Addr]bool{}
	if exit.IsValid() {
		ends[exit] = true
	}
	var last netip.Addr
	for i := range remotes {
		if h := remotes[i].Host; h != last { // most often they come host by host
			ends[h], last = true, h
		}
	}
	return ends
}

// differences returns how one list, in order of address, becomes another: for
// each address that is not the same in both what it is in each, or nil.
func differences(have, want []Remote) iter.Seq2[*Remote, *Remote] {
	return func(yield func(have, want *Remote) bool) {
		for len(have) > 0 || len(want) > 0 {
			order := 0
			switch {
			case len(want) == 0:
				order = -1
			case len(have) == 0:
				order = 1
			case have[0] == want[0]:
				have, want = have[1:], want[1:]
				continue
			default:
				order = have[0].Addr.Compare(want[0].Addr)
			}
			var h, w *Remote
			if order <= 0 {
				h, have = &have[0], have[1:]
			}
			if order >= 0 {
				w, want = &want[0], want[1:]
			}
			if !yield(h, w) {
				return
			}
		}
	}
}

var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// wayOut adds the default route to the batch, unless it is there. The function
// it returns is to be told how the batch went, and hands that on.
func (r *router) wayOut(cfg Router, b *link.Batch) func(error) error {
	want := link.Route{Dest: everywhere, Via: r.outer, Device: r.up}
	if cfg.Exit.IsValid() {
		want.Via, want.OnLink, want.Device = hopOf(cfg.Exit), true, r.tunnel.device
	}
	if want != r.way {
		b.PutRoute(want)
	}
	return func(err error) error {
		if r.way = want; err != nil {
			r.way = link.Route{} // nobody knows
		}
		return err
	}
}

// openTunnel makes the router's tunnel device, unless it is there as it should be.
func (r *router) openTunnel(vni uint32) error {
	want, mtu := link.Vxlan{VNI: vni, Local: r.f.opt.Tunnel.Addr, Port: tunnelPort}, r.f.tunnelMTU
	if r.tunnel.device != 0 && r.tunnel.made == want && r.tunnel.mtu == mtu {
		return nil
	}
	if err := r.closeTunnel(); err != nil {
		return err
	}
	r.tunnel = tunnel{} // should this fail, look again
	if err := r.f.links.Vxlan(tunnelDevice, r.ns, want, endMAC(want.Local), mtu); err != nil {
		return err
	}
	d, ok, err := r.links.Device(tunnelDevice)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("device %s vanished", tunnelDevice))
	}
	err = r.ns.Sysctl(map[string]string{
		"ipv4.conf." + tunnelDevice + ".proxy_arp": "0",
		// A guest without source check may send from anywhere, and other hosts'
		// routers report errors from addresses that ours has too.
		"ipv4.conf." + tunnelDevice + ".rp_filter":    "0",
		"ipv4.conf." + tunnelDevice + ".accept_local": "1",
	})
	if err != nil {
		return err
	}
	if err := r.links.Up(d.Index, 0); err != nil {
		return err
	}
	r.tunnel = tunnel{device: d.Index, made: want, mtu: mtu, known: true}
	return nil
}

// closeTunnel removes the tunnel device, and the routes with it.
func (r *router) closeTunnel() error {
	if r.tunnel.device == 0 {
		return nil
	}
	if r.way.Device == r.tunnel.device {
		r.way = link.Route{}
	}
	if err := r.links.Delete(tunnelDevice); err != nil {
		return err
	}
	r.tunnel = tunnel{known: true}
	return nil
}

// peers are the hosts that the tunnels of all routers end at.
func (f *Fabric) peers() []netip.Addr {
	all := map[netip.Addr]bool{}
	for _, r := range f.routers {
		maps.Copy(all, r.tunnel.ends)
	}
	return slices.SortedFunc(maps.Keys(all), netip.Addr.Compare)
}
