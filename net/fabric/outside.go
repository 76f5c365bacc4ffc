package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/arp"

	"eucad/net/link"
)

// outside is how public addresses reach this host and go on to routers.
type outside struct {
	host   *link.NS
	links  *link.Conn
	opt    Options
	index  uint32       // of Options.PublicInterface; 0 when there is none
	public netip.Prefix // where public addresses are
	source netip.Addr   // of the host's own packets to public addresses; zero for any
	routes map[netip.Addr]hop
	found  map[string]bool     // routers whose routes of an earlier process are known
	proxy  map[netip.Addr]bool // addresses that ARP is answered for
}

// A hop is where a public address leads.
type hop struct {
	router string
	via    netip.Addr
	device uint32
}

func (o *outside) open(host *link.NS, links *link.Conn, opt Options) error {
	*o = outside{host: host, links: links, opt: opt, public: opt.PublicPrefix, routes: map[netip.Addr]hop{}, found: map[string]bool{}, proxy: map[netip.Addr]bool{}}
	if err := o.device(); err != nil {
		return err
	}
	return o.findProxies()
}

// device opens Options.PublicInterface.
func (o *outside) device() error {
	name := o.opt.PublicInterface
	if name == "" {
		return nil
	}
	d, ok, err := o.links.Device(name)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("there is no device %s for public addresses; name another public interface, or none", name)
	}
	o.index = d.Index
	addrs, err := o.links.Addresses(d.Index)
	if err != nil {
		return err
	}
	if len(addrs) > 0 {
		o.source = addrs[0].Addr()
	}
	return o.host.Sysctl(map[string]string{"ipv4.neigh." + name + ".proxy_delay": "0"})
}

// findProxies learns what an earlier process answered ARP for. It may have done
// so on another device, where that ends.
func (o *outside) findProxies() error {
	proxies, err := o.links.Proxies()
	if err != nil {
		return err
	}
	var errs []error
	for index, addrs := range proxies {
		for _, a := range addrs {
			if index == o.index {
				o.proxy[a] = true
			} else {
				errs = append(errs, o.links.DeleteProxy(index, a))
			}
		}
	}
	return errors.Join(errs...)
}

// apply makes public addresses lead to the routers whose ports have them.
func (o *outside) apply(routers map[string]*router) error {
	var errs []error
	want := map[netip.Addr]hop{}
	for id, r := range routers {
		if r.device == 0 {
			continue
		}
		if !o.found[id] {
			errs = append(errs, o.find(r))
		}
		for a := range r.publicAddrs() {
			want[a] = hop{id, r.inner(), r.device}
		}
	}
	for a, h := range o.routes {
		if _, ok := want[a]; ok {
			continue
		}
		if routers[h.router] != nil { // else it went with its device
			if err := o.links.DeleteRoute(link.Route{Dest: netip.PrefixFrom(a, 32), Device: h.device}); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		delete(o.routes, a)
	}
	for a, h := range want {
		if o.routes[a] == h {
			continue
		}
		if err := o.links.PutRoute(link.Route{Dest: netip.PrefixFrom(a, 32), Via: h.via, Source: o.source, Device: h.device}); err != nil {
			errs = append(errs, err)
			continue
		}
		o.routes[a] = h
	}
	for id := range o.found {
		if routers[id] == nil {
			delete(o.found, id)
		}
	}
	return errors.Join(append(errs, o.announce(want))...)
}

// find learns the routes that an earlier process made to the router.
func (o *outside) find(r *router) error {
	routes, err := o.links.Routes(r.device)
	if err != nil {
		return err
	}
	for _, p := range routes {
		if p.Bits() == 32 {
			o.routes[p.Addr()] = hop{router: r.id, via: r.inner(), device: r.device}
		}
	}
	o.found[r.id] = true
	return nil
}

// announce answers ARP for the addresses on the public interface, and tells
// neighbours of those that are new there.
func (o *outside) announce(want map[netip.Addr]hop) error {
	if o.opt.PublicInterface == "" {
		return nil
	}
	var errs []error
	for a := range o.proxy {
		if _, ok := want[a]; !ok {
			errs = append(errs, o.links.DeleteProxy(o.index, a))
			delete(o.proxy, a)
		}
	}
	var fresh []netip.Addr
	for a := range want {
		if !o.proxy[a] {
			if err := o.links.PutProxy(o.index, a); err != nil {
				errs = append(errs, err)
				continue
			}
			o.proxy[a] = true
			fresh = append(fresh, a)
		}
	}
	if len(fresh) > 0 {
		if err := o.host.Do(func() error { return gratuitous(o.opt.PublicInterface, fresh) }); err != nil {
			// Neighbours learn it when they ask next.
			o.opt.Log.Warn("cannot announce public addresses", "device", o.opt.PublicInterface, "err", err)
		}
	}
	return errors.Join(errs...)
}

// gratuitous tells all neighbours on the device, which is in the namespace of
// the calling thread, that the addresses are here now (RFC 5227, section 3).
func gratuitous(device string, addrs []netip.Addr) error {
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	c, err := arp.Dial(ifi)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, a := range addrs {
		p, err := arp.NewPacket(arp.OperationRequest, ifi.HardwareAddr, a, net.HardwareAddr{0, 0, 0, 0, 0, 0}, a)
		if err != nil {
			return err
		}
		if err := c.WriteTo(p, all); err != nil {
			return err
		}
	}
	return nil
}
