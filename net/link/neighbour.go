package link

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// PutNeighbour says for good which MAC has the address on the device.
func (c *Conn) PutNeighbour(index uint32, ip netip.Addr, mac net.HardwareAddr) error {
	return c.change(putNeighbour(index, ip, mac))
}

func putNeighbour(index uint32, ip netip.Addr, mac net.HardwareAddr) change {
	m := newNeighbour(family(ip), index, unix.NUD_PERMANENT, 0, attr(unix.NDA_DST, ip.AsSlice()), attr(unix.NDA_LLADDR, mac))
	return change{what: "neighbour " + ip.String(), message: m, kind: unix.RTM_NEWNEIGH, flags: netlink.Create | netlink.Replace}
}

func deleteNeighbour(index uint32, ip netip.Addr) change {
	m := newNeighbour(family(ip), index, 0, 0, attr(unix.NDA_DST, ip.AsSlice()))
	return change{what: "delete neighbour " + ip.String(), message: m, kind: unix.RTM_DELNEIGH, none: []error{unix.ENOENT}}
}

// Neighbours returns the MACs by the IPv4 addresses that PutNeighbour gave
// the device.
func (c *Conn) Neighbours(index uint32) (map[netip.Addr]net.HardwareAddr, error) {
	all, err := c.neighbours(index)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	out := map[netip.Addr]net.HardwareAddr{}
	for _, n := range all {
		if a, ok := netip.AddrFromSlice(n.Attributes.Address.To4()); ok && n.State&unix.NUD_PERMANENT != 0 {
			out[a] = n.Attributes.LLAddress
		}
	}
	return out, nil
}

// putForward has frames to the MAC leave a VXLAN device for the host with the
// address to.
func putForward(index uint32, mac net.HardwareAddr, to netip.Addr) change {
	m := newNeighbour(unix.AF_BRIDGE, index, unix.NUD_PERMANENT|unix.NUD_NOARP, unix.NTF_SELF, attr(unix.NDA_LLADDR, mac), attr(unix.NDA_DST, to.AsSlice()))
	return change{what: "forward to " + to.String(), message: m, kind: unix.RTM_NEWNEIGH, flags: netlink.Create | netlink.Replace}
}

func deleteForward(index uint32, mac net.HardwareAddr, to netip.Addr) change {
	m := newNeighbour(unix.AF_BRIDGE, index, 0, unix.NTF_SELF, attr(unix.NDA_LLADDR, mac), attr(unix.NDA_DST, to.AsSlice()))
	return change{what: "delete forward to " + to.String(), message: m, kind: unix.RTM_DELNEIGH, none: []error{unix.ENOENT}}
}

// ndaProtocol is the attribute of who made an entry: a byte, numbered as
// routes' protocols are (linux/neighbour.h; since Linux 4.20).
const ndaProtocol = 12

// Proxies returns the addresses that the kernel answers ARP for because of
// PutProxy, by the indexes of devices.
func (c *Conn) Proxies() (map[uint32][]netip.Addr, error) {
	out, err := c.proxies()
	if err != nil {
		return nil, fmt.Errorf("list proxy ARP entries: %w", err)
	}
	return out, nil
}

func (c *Conn) proxies() (map[uint32][]netip.Addr, error) {
	raw, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: c.ns.FD(), Strict: true}) // rtnetlink leaves ndaProtocol out
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	ask, err := (&rtnetlink.NeighMessage{Family: unix.AF_INET, Flags: unix.NTF_PROXY}).MarshalBinary()
	if err != nil {
		return nil, err
	}
	msgs, err := raw.Execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETNEIGH, Flags: netlink.Request | netlink.Dump}, Data: ask})
	out := map[uint32][]netip.Addr{}
	for _, m := range msgs {
		var n rtnetlink.NeighMessage
		if err := n.UnmarshalBinary(m.Data); err != nil {
			return nil, err
		}
		attrs, err := netlink.UnmarshalAttributes(m.Data[unix.SizeofNdMsg:])
		if err != nil {
			return nil, err
		}
		ours := slices.ContainsFunc(attrs, func(a netlink.Attribute) bool {
			return a.Type == ndaProtocol && len(a.Data) == 1 && a.Data[0] == protocol
		})
		if ip, ok := netip.AddrFromSlice(n.Attributes.Address.To4()); ok && ours && n.Flags&unix.NTF_PROXY != 0 {
			out[n.Index] = append(out[n.Index], ip)
		}
	}
	return out, err
}

// PutProxy has the kernel answer ARP for the address on the device.
func (c *Conn) PutProxy(index uint32, ip netip.Addr) error {
	m := newNeighbour(family(ip), index, unix.NUD_PERMANENT, unix.NTF_PROXY, attr(unix.NDA_DST, ip.AsSlice()), attr(ndaProtocol, []byte{protocol}))
	return c.change(change{what: "proxy ARP for " + ip.String(), message: m, kind: unix.RTM_NEWNEIGH, flags: netlink.Create | netlink.Replace})
}

// DeleteProxy ends what PutProxy began.
func (c *Conn) DeleteProxy(index uint32, ip netip.Addr) error {
	m := newNeighbour(family(ip), index, unix.NUD_PERMANENT, unix.NTF_PROXY, attr(unix.NDA_DST, ip.AsSlice()))
	return c.change(change{what: "delete proxy ARP for " + ip.String(), message: m, kind: unix.RTM_DELNEIGH, none: []error{unix.ENOENT}})
}

// neighbours lists the IPv4 entries of the device.
func (c *Conn) neighbours(index uint32) ([]*rtnetlink.NeighMessage, error) {
	msgs, err := c.rt.Execute(&rtnetlink.NeighMessage{Family: unix.AF_INET}, unix.RTM_GETNEIGH, netlink.Request|netlink.Dump)
	var out []*rtnetlink.NeighMessage
	for _, m := range msgs {
		if n, ok := m.(*rtnetlink.NeighMessage); ok && n.Index == index && n.Attributes != nil {
			out = append(out, n)
		}
	}
	return out, err
}

// A neighbour has only the attributes it is given: the kernel refuses some
// changes with all those that rtnetlink would have them come with.
type neighbour struct {
	rtnetlink.NeighMessage
	attrs []netlink.Attribute
}

func newNeighbour(family uint8, index uint32, state uint16, flags uint8, attrs ...netlink.Attribute) *neighbour {
	return &neighbour{rtnetlink.NeighMessage{Family: uint16(family), Index: index, State: state, Flags: flags}, attrs}
}

func attr(kind uint16, data []byte) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: data}
}

// MarshalBinary implements rtnetlink.Message.
func (n *neighbour) MarshalBinary() ([]byte, error) {
	b, err := n.NeighMessage.MarshalBinary()
	if err != nil {
		return nil, err
	}
	attrs, err := netlink.MarshalAttributes(n.attrs)
	return append(b, attrs...), err
}
