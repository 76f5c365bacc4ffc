package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"eucad/net/dns"
	"eucad/net/link"
	"eucad/net/nft"
)

// Addresses of every router (EC2 User Guide: "Instance metadata", "Amazon DNS server").
var (
	metadataAddr = netip.MustParseAddr("169.254.169.254")
	dnsAddr      = netip.MustParseAddr("169.254.169.253")
)

// A router is one VPC's namespace.
type router struct {
	id      string
	f       *Fabric
	ns      *link.NS // nil: only the name is there
	links   *link.Conn
	filters *nft.Filters
	outer   netip.Addr // the host's end of the link; the router's is the next one
	device  uint32     // index of the host's end
	up      uint32     // index of the router's end
	way     link.Route // the default one; zero when it isn't known
	tunnel  tunnel

	cfg   Router       // as applied last
	swept bool         // taps of earlier processes are dealt with
	names []netip.Addr // DNS servers that run
	zone  *dns.Zone    // what they know, of zoned
	zoned Router
	ready bool                  // the namespace is as the rest expects it
	local map[netip.Addr]bool   // our own addresses in it
	cidrs map[netip.Prefix]bool // that lead nowhere but to ports
	ports map[string]Port       // by id, as applied
	taps  map[string]uint32     // index by port id, of those in the namespace
	held  holders               // of addresses, as applied
	moved map[netip.Addr]bool   // addresses whose connections are to be forgotten
	serve servers
}

func (f *Fabric) newRouter(id string, ns *link.NS) (*router, error) {
	links, err := ns.Dial()
	if err != nil {
		return nil, err
	}
	filters, err := nft.OpenFilters(ns.FD())
	if err != nil {
		return nil, errors.Join(err, links.Close())
	}
	return &router{id: id, f: f, ns: ns, links: links, filters: filters,
		local: map[netip.Addr]bool{}, cidrs: map[netip.Prefix]bool{}, ports: map[string]Port{}, taps: map[string]uint32{}, moved: map[netip.Addr]bool{}}, nil
}

// inner is the router's end of the link to the host.
func (r *router) inner() netip.Addr { return r.outer.Next() }

// apply makes the router match cfg: filters first.
func (r *router) apply(cfg Router) error {
	if err := r.join(); err != nil {
		return err
	}
	if err := r.filters.Apply(r.compile(cfg)); err != nil {
		return err
	}
	if err := r.prepare(); err != nil {
		return err
	}
	remotes := r.f.remotes(cfg)
	// Tunnel before ports, so that what moved away is never nowhere.
	err := errors.Join(r.addresses(cfg), r.reach(cfg, remotes), r.applyPorts(cfg), r.answer(cfg))
	// Whoever gets an address next must not get the connections of who had it.
	held := holders{local: cfg.local(), remote: remotes}
	r.held.moved(held, r.moved)
	r.held = held
	if forget := r.ns.ForgetFlows(r.moved); forget != nil {
		return errors.Join(err, forget)
	}
	clear(r.moved)
	return err
}

// join makes the link between the host and the router.
func (r *router) join() error {
	if r.device != 0 {
		return nil
	}
	host, name := r.f.links, vethName(r.id)
	d, ok, err := host.Device(name)
	if err != nil {
		return err
	}
	if ok { // and does it lead here? A namespace may have been lost, and its name been given again
		if _, here, err := r.links.Device(uplink); err != nil {
			return err
		} else if !here {
			if err := host.Delete(name); err != nil {
				return err
			}
			ok = false
		}
	}
	if !ok {
		if err := host.Veth(name, uplink, r.ns, vethMTU); err != nil {
			return err
		}
		if d, ok, err = host.Device(name); err != nil || !ok {
			return errors.Join(err, fmt.Errorf("device %s vanished", name))
		}
	}
	if !r.outer.IsValid() {
		if r.outer, err = r.f.freeLink(); err != nil {
			return err
		}
		r.f.transit[r.outer] = true
	}
	err = r.f.host.Sysctl(map[string]string{
		"ipv6.conf." + name + ".disable_ipv6": "1",
		"ipv4.conf." + name + ".rp_filter":    "1",
		"ipv4.conf." + name + ".forwarding":   "1",
	})
	if err != nil {
		return err
	}
	if err := host.AddAddress(d.Index, netip.PrefixFrom(r.outer, 31)); err != nil {
		return err
	}
	if !d.Up {
		if err := host.Up(d.Index, 0); err != nil {
			return err
		}
	}
	r.device = d.Index
	return nil
}

// prepare sets up what all routers have, and finds the taps that are there.
func (r *router) prepare() error {
	if r.ready {
		return nil
	}
	err := r.ns.Sysctl(map[string]string{
		"ipv4.ip_forward":                  "1",
		"ipv6.conf.all.disable_ipv6":       "1",
		"ipv6.conf.default.disable_ipv6":   "1",
		"ipv4.conf.all.send_redirects":     "0",
		"ipv4.conf.all.rp_filter":          "0", // the larger of this and a device's counts
		"ipv4.conf.all.accept_redirects":   "0",
		"ipv4.conf.default.send_redirects": "0",
		// A moved tap takes the defaults of its new namespace.
		"ipv4.conf.default.rp_filter":        "1",
		"ipv4.conf.default.proxy_arp":        "1", // guests believe that their subnet is on the link
		"ipv4.conf." + uplink + ".proxy_arp": "0",
		// A guest that left and came back has connections of which the router has
		// not seen all: it must not take them for forged.
		"netfilter.nf_conntrack_tcp_be_liberal": "1",
	})
	if err != nil {
		return err
	}
	lo, _, err := r.links.Device("lo")
	if err != nil {
		return err
	}
	up, ok, err := r.links.Device(uplink)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("the namespace has no %s: remove it, and it is made anew", uplink))
	}
	for _, i := range []uint32{lo.Index, up.Index} {
		if err := r.links.Up(i, 0); err != nil {
			return err
		}
	}
	if err := r.links.AddAddress(up.Index, netip.PrefixFrom(r.inner(), 31)); err != nil {
		return err
	}
	r.up = up.Index
	if err := r.find(lo.Index); err != nil {
		return err
	}
	r.ready = true
	return nil
}

// find learns what an earlier Fabric left in the namespace.
func (r *router) find(lo uint32) error {
	addrs, err := r.links.Addresses(lo)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if !a.Addr().IsLoopback() {
			r.local[a.Addr()] = true
		}
	}
	cidrs, err := r.links.Routes(0)
	for _, p := range cidrs {
		r.cidrs[p] = true
	}
	return err
}

const loopback = 1 // index of lo in every namespace (kernel: LOOPBACK_IFINDEX)

// addresses makes the router's own addresses, and sees that the VPC's prefixes
// lead nowhere else.
func (r *router) addresses(cfg Router) error {
	var errs []error
	local := map[netip.Addr]bool{metadataAddr: true, dnsAddr: true}
	for _, a := range resolvers(cfg) {
		local[a] = true
	}
	for _, s := range cfg.Subnets {
		local[gateway(s.Prefix)] = true
	}
	for a := range local {
		if !r.local[a] {
			errs = append(errs, r.links.AddAddress(loopback, netip.PrefixFrom(a, 32)))
		}
	}
	for a := range r.local {
		if !local[a] {
			errs = append(errs, r.links.DeleteAddress(loopback, netip.PrefixFrom(a, 32)))
		}
	}
	cidrs := map[netip.Prefix]bool{}
	for _, p := range cfg.CIDRs {
		cidrs[p.Masked()] = true
		if !r.cidrs[p.Masked()] {
			errs = append(errs, r.links.PutRoute(link.Route{Dest: p.Masked(), Unreachable: true}))
		}
	}
	for p := range r.cidrs {
		if !cidrs[p] {
			errs = append(errs, r.links.DeleteRoute(link.Route{Dest: p, Unreachable: true}))
		}
	}
	err := errors.Join(errs...)
	if err == nil {
		r.local, r.cidrs = local, cidrs
	}
	return err
}

// gateway is the subnet's router: its first address + 1 (EC2: "Subnet CIDR blocks").
func gateway(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// resolvers are the DNS servers of a VPC: base + 2 of its first prefix, and the
// link-local one.
func resolvers(cfg Router) []netip.Addr {
	out := []netip.Addr{dnsAddr}
	if len(cfg.CIDRs) > 0 {
		out = append(out, gateway(cfg.CIDRs[0]).Next())
	}
	return out
}

// compile says what the filters of the router need to know of cfg, which was checked.
func (r *router) compile(cfg Router) nft.Router {
	out := nft.Router{Uplink: uplink, Address: r.inner(), Transit: r.f.opt.Transit, Public: cfg.Publics}
	if r.f.tunnels(&cfg) {
		out.Tunnel, out.Relay, out.Gateway, out.Behind = tunnelDevice, cfg.Transit, cfg.Gateway, r.f.behind()
	}
	out.Services = append(out.Services, nft.Service{Addr: metadataAddr, Proto: unix.IPPROTO_TCP, Port: 80})
	for _, a := range resolvers(cfg) {
		out.Services = append(out.Services, nft.Service{Addr: a, Proto: unix.IPPROTO_TCP, Port: 53}, nft.Service{Addr: a, Proto: unix.IPPROTO_UDP, Port: 53})
	}
	for _, p := range cfg.Ports {
		q := nft.Port{Device: p.Tap, MAC: p.mac(), Addrs: p.addrs(), AnySource: p.AnySource, Groups: p.Groups}
		if !cfg.Exit.IsValid() { // else it is done there
			q.Public = p.publics()
		}
		out.Ports = append(out.Ports, q)
	}
	for _, g := range cfg.Groups {
		out.Groups = append(out.Groups, nft.Group{ID: g.ID, Members: g.Members, Ingress: nftRules(g.Ingress), Egress: nftRules(g.Egress)})
	}
	return out
}

// mac returns the MAC address of a port that was checked.
func (p *Port) mac() net.HardwareAddr {
	mac, _ := net.ParseMAC(p.MAC)
	return mac
}

func nftRules(all []Rule) []nft.Rules {
	out := make([]nft.Rules, len(all))
	for i, r := range all {
		out[i] = nft.Rules(r)
	}
	return out
}

func (p *Port) addrs() []netip.Addr { return append([]netip.Addr{p.Addr}, p.Secondary...) }

func (p *Port) publics() map[netip.Addr]netip.Addr {
	out := map[netip.Addr]netip.Addr{}
	for pub, priv := range p.PublicOf {
		out[pub] = priv
	}
	if p.Public.IsValid() {
		out[p.Public] = p.Addr
	}
	return out
}

// close stops the servers and forgets the namespace, which stays.
func (r *router) close() error {
	if r.ns == nil {
		return nil
	}
	return errors.Join(r.serve.close(), r.filters.Close(), r.links.Close(), r.ns.Close())
}
