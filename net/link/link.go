package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A Conn works on the devices of one namespace. Its methods may be called at once.
type Conn struct {
	rt *rtnetlink.Conn
	ns *NS
}

// Dial returns a Conn for the namespace, which must stay open.
func (n *NS) Dial() (*Conn, error) {
	rt, err := rtnetlink.Dial(&netlink.Config{NetNS: n.FD()})
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &Conn{rt, n}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.rt.Close() }

// A Device is a network device.
type Device struct {
	Index   uint32
	Name    string
	MAC     net.HardwareAddr
	Up      bool // as set by an administrator
	Carrier bool // of a tap: somebody has it open
	MTU     int
	Alias   string // what its maker noted
	Stats   rtnetlink.LinkStats64
}

// Devices returns the namespace's devices.
func (c *Conn) Devices() ([]Device, error) {
	all, err := c.rt.Link.List()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	var out []Device
	for _, m := range all {
		out = append(out, device(m))
	}
	return out, nil
}

func device(m rtnetlink.LinkMessage) Device {
	d := Device{Index: m.Index, Up: m.Flags&unix.IFF_UP != 0}
	if a := m.Attributes; a != nil {
		d.Name, d.MAC, d.MTU = a.Name, a.Address, int(a.MTU)
		d.Carrier = a.Carrier != nil && *a.Carrier == 1
		if a.Alias != nil {
			d.Alias = *a.Alias
		}
		if a.Stats64 != nil {
			d.Stats = *a.Stats64
		}
	}
	return d
}

// Device returns the device of that name, and whether there is one.
func (c *Conn) Device(name string) (Device, bool, error) {
	msgs, err := c.rt.Execute(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: name}}, unix.RTM_GETLINK, netlink.Request)
	if errors.Is(err, unix.ENODEV) {
		return Device{}, false, nil
	}
	if err != nil {
		return Device{}, false, fmt.Errorf("device %s: %w", name, err)
	}
	for _, m := range msgs {
		if lm, ok := m.(*rtnetlink.LinkMessage); ok {
			return device(*lm), true, nil
		}
	}
	return Device{}, false, nil
}

// Delete removes the device of that name.
func (c *Conn) Delete(name string) error {
	d, ok, err := c.Device(name)
	if err != nil || !ok {
		return err
	}
	if err := c.rt.Link.Delete(d.Index); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// Up sets the device up and, unless mtu is 0, its MTU.
func (c *Conn) Up(index uint32, mtu int) error {
	err := c.rt.Link.Set(&rtnetlink.LinkMessage{Index: index, Flags: unix.IFF_UP, Change: unix.IFF_UP, Attributes: &rtnetlink.LinkAttributes{MTU: uint32(mtu)}})
	if err != nil {
		return fmt.Errorf("set device %d up: %w", index, err)
	}
	return nil
}

// Note sets the device's alias.
func (c *Conn) Note(index uint32, alias string) error {
	err := c.rt.Link.Set(&rtnetlink.LinkMessage{Index: index, Attributes: &rtnetlink.LinkAttributes{Alias: &alias}})
	if err != nil {
		return fmt.Errorf("set alias of device %d: %w", index, err)
	}
	return nil
}

// Move moves the device of that name into another namespace.
func (c *Conn) Move(name string, to *NS) error {
	d, ok, err := c.Device(name)
	if err == nil && !ok {
		err = os.ErrNotExist
	}
	if err == nil {
		err = c.rt.Link.Set(&rtnetlink.LinkMessage{Index: d.Index, Attributes: &rtnetlink.LinkAttributes{NetNS: rtnetlink.NetNSForFD(uint32(to.FD()))}})
	}
	if err != nil {
		return fmt.Errorf("move %s: %w", name, err)
	}
	return nil
}

// Veth makes a cable: name here, and peer in the namespace far.
func (c *Conn) Veth(name, peer string, far *NS, mtu int) error {
	err := c.rt.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: name, MTU: uint32(mtu),
		Info: &rtnetlink.LinkInfo{Kind: "veth", Data: &driver.Veth{PeerInfo: &rtnetlink.LinkMessage{
			Attributes: &rtnetlink.LinkAttributes{Name: peer, MTU: uint32(mtu), NetNS: rtnetlink.NetNSForFD(uint32(far.FD()))},
		}}},
	}})
	if err != nil {
		return fmt.Errorf("make %s–%s: %w", name, peer, err)
	}
	return nil
}

// DeleteAddress takes an address from the device.
func (c *Conn) DeleteAddress(index uint32, p netip.Prefix) error {
	ip := net.IP(p.Addr().AsSlice())
	err := c.rt.Address.Delete(&rtnetlink.AddressMessage{Family: family(p.Addr()), PrefixLength: uint8(p.Bits()), Index: index,
		Attributes: &rtnetlink.AddressAttributes{Address: ip, Local: ip}})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("delete address %s: %w", p, err)
	}
	return nil
}

// AddAddress gives the device an address.
func (c *Conn) AddAddress(index uint32, p netip.Prefix) error {
	ip := net.IP(p.Addr().AsSlice())
	err := c.rt.Address.New(&rtnetlink.AddressMessage{Family: family(p.Addr()), PrefixLength: uint8(p.Bits()), Index: index,
		Attributes: &rtnetlink.AddressAttributes{Address: ip, Local: ip}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s: %w", p, err)
	}
	return nil
}

// Addresses returns the IPv4 addresses of the device.
func (c *Conn) Addresses(index uint32) ([]netip.Prefix, error) {
	all, err := c.rt.Address.List()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []netip.Prefix
	for _, m := range all {
		if m.Index == index && m.Family == unix.AF_INET {
			if a, ok := netip.AddrFromSlice(m.Attributes.Local.To4()); ok {
				out = append(out, netip.PrefixFrom(a, int(m.PrefixLength)))
			}
		}
	}
	return out, nil
}

// A Route is where packets for Dest go. An Unreachable one goes nowhere.
type Route struct {
	Dest        netip.Prefix
	Via         netip.Addr // zero for a destination on the link itself
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
	default:
		m.Scope = unix.RT_SCOPE_LINK
	}
	if r.Source.IsValid() {
		m.Attributes.Src = r.Source.AsSlice()
	}
	return m
}

// protocol marks our routes in the kernel's table; it is nobody's in
// /etc/iproute2/rt_protos.
const protocol = 158

// PutRoute adds the route, in place of another one for the same destination.
func (c *Conn) PutRoute(r Route) error {
	if err := c.rt.Route.Replace(r.message()); err != nil {
		return fmt.Errorf("route to %s: %w", r.Dest, err)
	}
	return nil
}

// DeleteRoute removes our route to that destination.
func (c *Conn) DeleteRoute(r Route) error {
	m := r.message()
	m.Scope = unix.RT_SCOPE_NOWHERE // any
	err := c.rt.Route.Delete(m)
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete route to %s: %w", r.Dest, err)
	}
	return nil
}

// Routes returns the destinations of our routes by way of the device; of the
// unreachable ones with index 0.
func (c *Conn) Routes(index uint32) ([]netip.Prefix, error) {
	all, err := c.rt.Route.List()
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []netip.Prefix
	for _, m := range all {
		if m.Protocol != protocol || m.Family != unix.AF_INET || m.Attributes.OutIface != index {
			continue
		}
		if a, ok := netip.AddrFromSlice(m.Attributes.Dst.To4()); ok {
			out = append(out, netip.PrefixFrom(a, int(m.DstLength)))
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return out, nil
}

// PutNeighbour says for good which MAC has the address on the device.
func (c *Conn) PutNeighbour(index uint32, ip netip.Addr, mac net.HardwareAddr) error {
	_, err := c.rt.Execute(&rtnetlink.NeighMessage{Family: uint16(family(ip)), Index: index, State: unix.NUD_PERMANENT,
		Attributes: &rtnetlink.NeighAttributes{Address: ip.AsSlice(), LLAddress: mac}},
		unix.RTM_NEWNEIGH, netlink.Request|netlink.Acknowledge|netlink.Create|netlink.Replace)
	if err != nil {
		return fmt.Errorf("neighbour %s: %w", ip, err)
	}
	return nil
}

// Proxies returns the addresses that the kernel answers ARP for on the device.
func (c *Conn) Proxies(index uint32) ([]netip.Addr, error) {
	msgs, err := c.rt.Execute(&rtnetlink.NeighMessage{Family: unix.AF_INET, Flags: unix.NTF_PROXY}, unix.RTM_GETNEIGH, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, fmt.Errorf("list proxy ARP entries: %w", err)
	}
	var out []netip.Addr
	for _, m := range msgs {
		n, ok := m.(*rtnetlink.NeighMessage)
		if !ok || n.Index != index || n.Flags&unix.NTF_PROXY == 0 || n.Attributes == nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(n.Attributes.Address.To4()); ok {
			out = append(out, a)
		}
	}
	return out, nil
}

// PutProxy has the kernel answer ARP for the address on the device.
func (c *Conn) PutProxy(index uint32, ip netip.Addr) error {
	return c.proxy(index, ip, unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace)
}

// DeleteProxy ends what PutProxy began.
func (c *Conn) DeleteProxy(index uint32, ip netip.Addr) error {
	err := c.proxy(index, ip, unix.RTM_DELNEIGH, 0)
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return err
}

func (c *Conn) proxy(index uint32, ip netip.Addr, kind uint16, flags netlink.HeaderFlags) error {
	m := &proxyMessage{NeighMessage: rtnetlink.NeighMessage{Family: uint16(family(ip)), Index: index, State: unix.NUD_PERMANENT, Flags: unix.NTF_PROXY}, ip: ip}
	if _, err := c.rt.Execute(m, kind, netlink.Request|netlink.Acknowledge|flags); err != nil {
		return fmt.Errorf("proxy ARP for %s: %w", ip, err)
	}
	return nil
}

// A proxyMessage has the address as its only attribute: the kernel refuses to
// delete a proxy entry when others are there, as rtnetlink would have them.
type proxyMessage struct {
	rtnetlink.NeighMessage
	ip netip.Addr
}

func (m *proxyMessage) MarshalBinary() ([]byte, error) {
	b, err := m.NeighMessage.MarshalBinary()
	if err != nil {
		return nil, err
	}
	attr, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NDA_DST, Data: m.ip.AsSlice()}})
	return append(b, attr...), err
}

func family(ip netip.Addr) uint8 {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// setMTU sets the device's MTU.
func (c *Conn) setMTU(index uint32, mtu int) error {
	return c.rt.Link.Set(&rtnetlink.LinkMessage{Index: index, Attributes: &rtnetlink.LinkAttributes{MTU: uint32(mtu)}})
}
