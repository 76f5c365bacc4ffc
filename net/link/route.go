package link

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A Route is where packets for Dest go. An Unreachable one goes nowhere.
type Route struct {
	Dest        netip.Prefix
	Via         netip.Addr // zero for a destination on the link itself
	OnLink      bool       // Via is on the link, though no address of ours says so
	Source      netip.Addr // of our own packets; zero leaves it to the kernel
	Device      uint32
	Unreachable bool
}

func (r Route) message() *rtnetlink.RouteMessage {
	m := &rtnetlink.RouteMessage{
		Family: family(r.Dest.Addr()), DstLength: uint8(r.Dest.Bits()), Table: unix.RT_TABLE_MAIN, Protocol: protocol,
		Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_UNIVERSE,
		Attributes: rtnetlink.RouteAttributes{OutIface: r.Device},
	}
	if r.Dest.Bits() > 0 {
		m.Attributes.Dst = r.Dest.Addr().AsSlice()
	}
	switch {
	case r.Unreachable:
		m.Type = unix.RTN_UNREACHABLE
	case r.Via.IsValid():
		m.Attributes.Gateway = r.Via.AsSlice()
		if r.OnLink {
			m.Flags = unix.RTNH_F_ONLINK
		}
	default:
		m.Scope = unix.RT_SCOPE_LINK
	}
	if r.Source.IsValid() {
		m.Attributes.Src = r.Source.AsSlice()
	}
	return m
}

// protocol marks our routes and proxy ARP entries in the kernel; it is nobody's in
// /etc/iproute2/rt_protos.
const protocol = 158

// PutRoute adds the route, in place of another one for the same destination.
func (c *Conn) PutRoute(r Route) error { return c.change(putRoute(r)) }

func putRoute(r Route) change {
	return change{what: "route to " + r.Dest.String(), message: r.message(), kind: unix.RTM_NEWROUTE, flags: netlink.Create | netlink.Replace}
}

// DeleteRoute removes our route to that destination.
func (c *Conn) DeleteRoute(r Route) error { return c.change(deleteRoute(r)) }

func deleteRoute(r Route) change {
	m := r.message()
	m.Scope, m.Flags = unix.RT_SCOPE_NOWHERE, 0 // any
	return change{what: "delete route to " + r.Dest.String(), message: m, kind: unix.RTM_DELROUTE, none: []error{unix.ESRCH, unix.ENODEV}}
}

// Routes returns the destinations of our routes by way of the device; of the
// unreachable ones with index 0.
func (c *Conn) Routes(index uint32) ([]netip.Prefix, error) {
	vias, err := c.Vias(index)
	out := slices.Collect(maps.Keys(vias))
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return out, err
}

// Vias is Routes, with the addresses they go by.
func (c *Conn) Vias(index uint32) (map[netip.Prefix]netip.Addr, error) {
	match := &rtnetlink.RouteMessage{Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Protocol: protocol, Attributes: rtnetlink.RouteAttributes{OutIface: index}}
	if index == 0 {
		match.Type = unix.RTN_UNREACHABLE
	}
	all, err := c.rt.Route.ListMatch(match)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	out := make(map[netip.Prefix]netip.Addr, len(all))
	for _, m := range all {
		if m.Protocol != protocol || m.Family != unix.AF_INET || m.Attributes.OutIface != index {
			continue // a kernel older than 4.20 doesn't filter
		}
		dest, ok := netip.AddrFromSlice(m.Attributes.Dst.To4())
		if !ok {
			continue
		}
		via, _ := netip.AddrFromSlice(m.Attributes.Gateway.To4())
		out[netip.PrefixFrom(dest, int(m.DstLength))] = via
	}
	return out, nil
}

// RouteVia has to, in the host's own namespace, lead to via, by the device
// that has our address from.
func RouteVia(to, via, from netip.Addr) error {
	host, err := Here()
	if err != nil {
		return err
	}
	defer host.Close()
	c, err := host.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	d, ok, err := c.DeviceWith(from)
	if err == nil && !ok {
		err = fmt.Errorf("no device has the address %s", from)
	}
	if err != nil {
		return err
	}
	return c.PutRoute(Route{Dest: netip.PrefixFrom(to, to.BitLen()), Via: via, Device: d.Index})
}
