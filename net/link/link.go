package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

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
	rt, err := rtnetlink.Dial(&netlink.Config{NetNS: n.FD(), Strict: true}) // strict: the kernel filters what it lists
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
	Kind    string // "veth", "wireguard", …; "" for a physical one
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
		if a.Info != nil {
			d.Kind = a.Info.Kind
		}
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

// SetMAC sets the device's MAC.
func (c *Conn) SetMAC(index uint32, mac net.HardwareAddr) error {
	err := c.rt.Link.Set(&rtnetlink.LinkMessage{Index: index, Attributes: &rtnetlink.LinkAttributes{Address: mac}})
	if err != nil {
		return fmt.Errorf("set MAC of device %d: %w", index, err)
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

// Wireguard makes a WireGuard device, and reports whether the kernel knows how.
func (c *Conn) Wireguard(name string) (bool, error) {
	err := c.rt.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: name, Info: &rtnetlink.LinkInfo{Kind: "wireguard"}}})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("make %s: %w", name, err)
	}
	return true, nil
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
