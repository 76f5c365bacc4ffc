package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaID         = 12
	ctaTupleIP    = 1
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
)

// ForgetFlows makes the namespace forget the tracked IPv4 connections that any
// of the addresses takes part in, before or after translation. What comes next
// of such a connection is judged as if it were new.
func (n *NS) ForgetFlows(addrs map[netip.Addr]bool) error {
	if len(addrs) == 0 {
		return nil
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: n.FD()})
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer c.Close()
	header := []byte{unix.AF_INET, 0, 0, 0} // struct nfgenmsg
	all, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: ctGet, Flags: netlink.Request | netlink.Dump},
		Data:   header,
	})
	if err != nil {
		return fmt.Errorf("list tracked connections: %w", err)
	}
	var errs []error
	for _, m := range all {
		name, touched := flow(m.Data, addrs)
		if !touched {
			continue
		}
		_, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: ctDelete, Flags: netlink.Request | netlink.Acknowledge},
			Data:   append(append([]byte{}, header...), name...),
		})
		if err != nil && !errors.Is(err, unix.ENOENT) { // it may have ended
			errs = append(errs, fmt.Errorf("forget a tracked connection: %w", err))
		}
	}
	return errors.Join(errs...)
}

// flow returns the attributes that name a connection, and whether one of the
// addresses takes part in it.
func flow(data []byte, addrs map[netip.Addr]bool) (name []byte, touched bool) {
	if len(data) < 4 {
		return nil, false
	}
	attrs, err := netlink.UnmarshalAttributes(data[4:])
	if err != nil {
		return nil, false
	}
	var keep []netlink.Attribute
	for _, a := range attrs {
		switch a.Type &^ netlink.Nested {
		case ctaTupleOrig:
			keep = append(keep, a)
			touched = touched || tupleHas(a.Data, addrs)
		case ctaTupleReply:
			touched = touched || tupleHas(a.Data, addrs)
		case ctaID:
			keep = append(keep, a)
		}
	}
	name, err = netlink.MarshalAttributes(keep)
	return name, touched && err == nil
}

func tupleHas(data []byte, addrs map[netip.Addr]bool) bool {
	parts, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return false
	}
	for _, p := range parts {
		if p.Type&^netlink.Nested != ctaTupleIP {
			continue
		}
		ips, err := netlink.UnmarshalAttributes(p.Data)
		if err != nil {
			return false
		}
		for _, ip := range ips {
			if ip.Type != ctaIPv4Src && ip.Type != ctaIPv4Dst {
				continue
			}
			if a, ok := netip.AddrFromSlice(ip.Data); ok && addrs[a] {
				return true
			}
		}
	}
	return false
}
