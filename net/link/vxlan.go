package link

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"golang.org/x/sys/unix"
)

// A Vxlan is what a VXLAN device (RFC 7348) is like.
type Vxlan struct {
	VNI   uint32
	Local netip.Addr // this end's address in the network that carries it
	Port  uint16     // UDP port of all ends
}

// Vxlan makes a VXLAN device in the namespace inside. What it carries goes by
// the network of c's namespace, at once and for good, and it learns nothing
// from what it receives.
func (c *Conn) Vxlan(name string, inside *NS, v Vxlan, mac net.HardwareAddr, mtu int) error {
	learning := false
	err := c.rt.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: name, Address: mac, MTU: uint32(mtu), NetNS: rtnetlink.NetNSForFD(uint32(inside.FD())),
		Info: &rtnetlink.LinkInfo{Kind: "vxlan", Data: &driver.Vxlan{ID: &v.VNI, Local: v.Local.AsSlice(), Port: &v.Port, Learning: &learning}},
	}})
	if err != nil {
		return fmt.Errorf("make %s, VNI %d: %w", name, v.VNI, err)
	}
	return nil
}

// VxlanOf returns what the VXLAN device with the index is like; the zero Vxlan
// when it is no such device.
func (c *Conn) VxlanOf(index uint32) (Vxlan, error) {
	m, err := c.rt.Link.Get(index)
	if err != nil {
		return Vxlan{}, fmt.Errorf("device %d: %w", index, err)
	}
	if m.Attributes == nil || m.Attributes.Info == nil {
		return Vxlan{}, nil
	}
	d, ok := m.Attributes.Info.Data.(*driver.Vxlan)
	if !ok || d.ID == nil || d.Port == nil {
		return Vxlan{}, nil
	}
	local, _ := netip.AddrFromSlice(d.Local.To4())
	return Vxlan{VNI: *d.ID, Local: local, Port: *d.Port}, nil
}

// DeviceWith returns the device that has the address, and whether there is one.
func (c *Conn) DeviceWith(a netip.Addr) (Device, bool, error) {
	all, err := c.rt.Address.List()
	if err != nil {
		return Device{}, false, fmt.Errorf("list addresses: %w", err)
	}
	for _, m := range all {
		if m.Family != unix.AF_INET || m.Attributes == nil {
			continue
		}
		if have, ok := netip.AddrFromSlice(m.Attributes.Local.To4()); !ok || have != a {
			continue
		}
		d, err := c.rt.Link.Get(m.Index)
		if err != nil {
			return Device{}, false, fmt.Errorf("device with address %s: %w", a, err)
		}
		return device(d), true, nil
	}
	return Device{}, false, nil
}
