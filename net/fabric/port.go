package fabric

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"eucad/net/link"
)

// routerMAC is that of the router on every port: a guest that goes on on another
// host need not learn another one.
var routerMAC = net.HardwareAddr{0x06, 0xec, 0, 0, 0, 0}

// OpenPort makes the tap that a machine will open; see Network. A tap that a
// machine has open already is left alone.
func (f *Fabric) OpenPort(ctx context.Context, p Port) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return errClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if err := f.openPort(p); err != nil {
		return fmt.Errorf("open port %s: %w", p.ID, err)
	}
	return nil
}

func (f *Fabric) openPort(p Port) error {
	if r := f.byPort[p.ID]; r != nil {
		open, err := r.unplug(p)
		if err != nil || open {
			return err
		}
	}
	d, ok, err := f.links.Device(p.Tap)
	if err != nil {
		return err
	}
	if ok {
		switch {
		case d.Alias != tapNote+p.ID:
			return fmt.Errorf("the host has a device %s which is not ours", p.Tap)
		case d.Carrier:
			return nil
		}
		if err := f.links.Delete(p.Tap); err != nil {
			return err
		}
	}
	mtu := p.MTU
	if mtu == 0 {
		mtu = f.opt.MTU
	}
	if err := f.links.Tap(p.Tap, mtu); err != nil {
		return err
	}
	if d, _, err = f.links.Device(p.Tap); err != nil {
		return err
	}
	if err := f.links.SetMAC(d.Index, routerMAC); err != nil {
		return err
	}
	if err := f.links.Note(d.Index, tapNote+p.ID); err != nil {
		return err
	}
	f.waiting[p.ID] = waiting{p.Tap, time.Now()}
	return nil
}

// unplug removes the port's tap from the router, and reports whether it is
// still open instead.
func (r *router) unplug(p Port) (open bool, err error) {
	d, ok, err := r.links.Device(p.Tap)
	if err != nil || !ok || d.Carrier {
		return ok && d.Carrier, err
	}
	r.forget(p.ID)
	return false, r.links.Delete(p.Tap)
}

// forget drops what is known of a tap that goes.
func (r *router) forget(id string) {
	if index, ok := r.taps[id]; ok {
		if r.serve.dhcp != nil {
			r.serve.dhcp.Remove(index)
		}
		delete(r.taps, id)
	}
}

// Plug moves an open tap into its router; see Network.
func (f *Fabric) Plug(ctx context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return errClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if w, ok := f.waiting[id]; ok {
		f.waiting[id] = waiting{tap: w.tap} // should this fail, Apply does it
	}
	r := f.byPort[id]
	if r == nil {
		return fmt.Errorf("plug %s: no router has this port: apply a Config with it first", id)
	}
	p, ok := r.ports[id]
	if !ok {
		return fmt.Errorf("plug %s: router %s could not be made", id, r.id)
	}
	if _, ok := r.taps[id]; ok {
		return nil
	}
	ok, err := r.plug(p)
	if err != nil {
		return fmt.Errorf("plug %s: %w", id, err)
	}
	if !ok {
		return fmt.Errorf("plug %s: no machine has its tap %s open", id, p.Tap)
	}
	return nil
}

// plug brings the port's tap into the namespace and up, when it is there
// already or waits on the host and somebody has it open.
func (r *router) plug(p Port) (bool, error) {
	d, ok, err := r.links.Device(p.Tap)
	if err != nil {
		return false, err
	}
	if !ok {
		if d, ok, err = r.f.links.Device(p.Tap); err != nil || !ok || !d.Carrier || d.Alias != tapNote+p.ID {
			return false, err
		}
		if err := r.f.links.Move(p.Tap, r.ns); err != nil {
			return false, err
		}
		delete(r.f.waiting, p.ID)
		if d, ok, err = r.links.Device(p.Tap); err != nil || !ok {
			return false, errors.Join(err, fmt.Errorf("device %s vanished", p.Tap))
		}
	}
	// A tap of an earlier process may be half done: do it all.
	if err := r.connect(d, p); err != nil {
		return false, err
	}
	r.taps[p.ID] = d.Index
	if l, ok := r.lease(p); ok && r.serve.dhcp != nil {
		r.serve.dhcp.Put(d.Index, l)
	}
	return true, nil
}

// connect gives the port's tap its routes and takes it up.
func (r *router) connect(d link.Device, p Port) error {
	filter := "1"
	if p.AnySource {
		filter = "0" // the reverse path may be another one; nft still sees to the MAC
	}
	err := r.ns.Sysctl(map[string]string{
		"ipv4.conf." + p.Tap + ".rp_filter":    filter,
		"ipv4.neigh." + p.Tap + ".proxy_delay": "0", // of answers to ARP; else up to 0.8 s
	})
	if err != nil {
		return err
	}
	if !d.Up {
		if err := r.links.Up(d.Index, 0); err != nil {
			return err
		}
	}
	have, err := r.links.Routes(d.Index)
	if err != nil {
		return err
	}
	for _, a := range p.addrs() {
		host := netip.PrefixFrom(a, 32)
		if i := slices.Index(have, host); i >= 0 {
			have = slices.Delete(have, i, i+1)
		} else if err := r.links.PutRoute(link.Route{Dest: host, Device: d.Index}); err != nil {
			return err
		}
		if err := r.links.PutNeighbour(d.Index, a, p.mac()); err != nil {
			return err
		}
	}
	for _, old := range have {
		if err := r.links.DeleteRoute(link.Route{Dest: old, Device: d.Index}); err != nil {
			return err
		}
	}
	return nil
}

// applyPorts removes the taps of ports that went, brings those up to date that
// changed, and plugs those that are open.
func (r *router) applyPorts(cfg Router) error {
	var errs []error
	old := r.ports
	r.cfg, r.ports = cfg, make(map[string]Port, len(cfg.Ports))
	for _, p := range cfg.Ports {
		r.ports[p.ID] = p
	}
	if !r.swept {
		errs = append(errs, r.sweep())
	}
	for id, p := range old {
		if _, ok := r.ports[id]; !ok {
			r.forget(id)
			errs = append(errs, r.links.Delete(p.Tap)) // one that waits is swept
		}
	}
	for id, p := range r.ports {
		_, plugged := r.taps[id]
		w, waits := r.f.waiting[id]
		switch {
		case plugged && p.sameLink(old[id]):
		case !plugged && (!waits || time.Since(w.since) < freshTime):
			// Nothing to plug, or who opened the port is about to.
		default:
			if _, err := r.plug(p); err != nil {
				errs = append(errs, fmt.Errorf("port %s: %w", id, err))
			}
		}
	}
	return errors.Join(errs...)
}

// sweep takes over the taps that an earlier process left in the namespace, and
// removes those of ports that are not wanted now.
func (r *router) sweep() error {
	all, err := r.links.Devices()
	if err != nil {
		return err
	}
	byTap := map[string]Port{}
	for _, p := range r.ports {
		byTap[p.Tap] = p
	}
	var errs []error
	for _, d := range all {
		p, ok := byTap[d.Name]
		switch {
		case d.Name == "lo" || d.Name == uplink || d.Name == tunnelDevice:
		case !ok:
			errs = append(errs, r.links.Delete(d.Name))
		default:
			if _, err := r.plug(p); err != nil {
				errs = append(errs, fmt.Errorf("port %s: %w", p.ID, err))
			}
		}
	}
	err = errors.Join(errs...)
	r.swept = err == nil
	return err
}

// sameLink reports whether a tap set up for q is right for p.
func (p Port) sameLink(q Port) bool {
	return p.Tap == q.Tap && p.MAC == q.MAC && p.Addr == q.Addr && p.AnySource == q.AnySource && p.MTU == q.MTU &&
		p.Hostname == q.Hostname && p.Subnet == q.Subnet && slices.Equal(p.Secondary, q.Secondary)
}

// Stats returns the port's counters; see Network.
func (f *Fabric) Stats(ctx context.Context, id string) (Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return Stats{}, errClosed
	case ctx.Err() != nil:
		return Stats{}, ctx.Err()
	}
	r := f.byPort[id]
	if r == nil {
		return Stats{}, fmt.Errorf("port %s: no router has it", id)
	}
	tap := r.ports[id].Tap
	d, ok, err := r.links.Device(tap)
	if err == nil && !ok {
		d, ok, err = f.links.Device(tap)
	}
	if err == nil && !ok {
		err = errors.New("has no tap")
	}
	if err != nil {
		return Stats{}, fmt.Errorf("counters of port %s: %w", id, err)
	}
	s := d.Stats // what the host receives from a tap, the guest sent
	return Stats{RxBytes: s.TXBytes, RxPackets: s.TXPackets, TxBytes: s.RXBytes, TxPackets: s.RXPackets}, nil
}

// publicAddrs returns the public addresses that this host answers for in the
// router's name.
func (r *router) publicAddrs() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	if r.cfg.Exit.IsValid() {
		return out
	}
	for _, p := range r.ports {
		for a := range maps.Keys(p.publics()) {
			out[a] = true
		}
	}
	for a := range r.cfg.Publics {
		out[a] = true
	}
	return out
}
