// Package dhcp answers guests that ask for their address by DHCP (RFC 2131),
// inside a router's namespace. What a guest gets depends on the device its
// question came by and on its MAC: there is no pool and nothing to remember.
package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// leaseTime is how long an address is lent. A guest asks again after half of it.
const leaseTime = 24 * time.Hour

// A Lease is what one guest is told.
type Lease struct {
	MAC      net.HardwareAddr
	Addr     netip.Prefix // its address, with the length of its subnet
	Router   netip.Addr   // also the name of the server
	DNS      []netip.Addr
	MTU      int
	Hostname string
	Domain   string
}

// Answer returns the message to send for the message of a guest, both as UDP
// payload, and nil when there is nothing to say.
func (l Lease) Answer(query []byte) []byte {
	if len(query) > maxMessage {
		return nil
	}
	q, err := dhcpv4.FromBytes(query)
	if err != nil || q.OpCode != dhcpv4.OpcodeBootRequest || q.ClientHWAddr.String() != l.MAC.String() {
		return nil
	}
	if id := q.ServerIdentifier(); id != nil && !id.Equal(l.Router.AsSlice()) {
		return nil // meant for another server
	}
	var a *dhcpv4.DHCPv4
	switch q.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		a, err = l.reply(q, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		if !l.grants(q) {
			a, err = dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak), dhcpv4.WithServerIP(l.Router.AsSlice()),
				dhcpv4.WithOption(dhcpv4.OptServerIdentifier(l.Router.AsSlice())))
			break
		}
		a, err = l.reply(q, dhcpv4.MessageTypeAck)
	case dhcpv4.MessageTypeInform:
		a, err = l.reply(q, dhcpv4.MessageTypeAck)
		if err == nil {
			a.YourIPAddr = net.IPv4zero // RFC 2131, section 4.3.5
			a.Options.Del(dhcpv4.OptionIPAddressLeaseTime)
		}
	}
	if err != nil || a == nil {
		return nil
	}
	return a.ToBytes()
}

// grants reports whether a request is for the guest's own address.
func (l Lease) grants(q *dhcpv4.DHCPv4) bool {
	want := q.RequestedIPAddress()
	if want == nil || want.IsUnspecified() {
		want = q.ClientIPAddr // it renews
	}
	return want.Equal(l.Addr.Addr().AsSlice())
}

func (l Lease) reply(q *dhcpv4.DHCPv4, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	mods := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithServerIP(l.Router.AsSlice()),
		dhcpv4.WithYourIP(l.Addr.Addr().AsSlice()),
		dhcpv4.WithClientIP(clientAddr(q, kind)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(l.Router.AsSlice())),
		dhcpv4.WithNetmask(net.CIDRMask(l.Addr.Bits(), 32)),
		dhcpv4.WithRouter(l.Router.AsSlice()),
		dhcpv4.WithLeaseTime(uint32(leaseTime / time.Second)),
		dhcpv4.WithOption(dhcpv4.OptBroadcastAddress(broadcast(l.Addr))),
	}
	var names []net.IP
	for _, a := range l.DNS {
		names = append(names, a.AsSlice())
	}
	if len(names) > 0 {
		mods = append(mods, dhcpv4.WithDNS(names...))
	}
	if l.MTU > 0 {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(l.MTU)))))
	}
	if l.Hostname != "" {
		host, _, _ := strings.Cut(l.Hostname, ".")
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptHostName(host)))
	}
	if l.Domain != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptDomainName(l.Domain)),
			dhcpv4.WithOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{l.Domain}})))
	}
	routes := dhcpv4.OptClasslessStaticRoute(l.routes()...)
	mods = append(mods, dhcpv4.WithOption(routes), dhcpv4.WithOption(dhcpv4.OptGeneric(microsoftRoutes, routes.Value.ToBytes())))
	return dhcpv4.NewReplyFromRequest(q, mods...)
}

// clientAddr is what an answer repeats of the address that a guest has (RFC
// 2131, section 4.3.1, table 3).
func clientAddr(q *dhcpv4.DHCPv4, kind dhcpv4.MessageType) net.IP {
	if kind == dhcpv4.MessageTypeAck {
		return q.ClientIPAddr
	}
	return net.IPv4zero
}

// microsoftRoutes is what older Windows systems ask for instead of option 121.
var microsoftRoutes = dhcpv4.GenericOptionCode(249)

// routes are what option 121 tells; a client that takes it ignores the router
// option (RFC 3442), so the way out is among them.
func (l Lease) routes() []*dhcpv4.Route {
	metadata := &net.IPNet{IP: net.IP{169, 254, 169, 254}, Mask: net.CIDRMask(32, 32)}
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	return []*dhcpv4.Route{
		// Guests with a link-local network of their own (RFC 3927) would look for
		// the metadata service there.
		{Dest: metadata, Router: l.Router.AsSlice()},
		{Dest: all, Router: l.Router.AsSlice()},
	}
}

func broadcast(p netip.Prefix) net.IP {
	a := p.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | ^uint32(0)>>p.Bits()
	return binary.BigEndian.AppendUint32(nil, n)
}
