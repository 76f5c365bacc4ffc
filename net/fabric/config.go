// Package fabric makes one host's network match a Config: a router (network
// namespace) per VPC, a routed tap per guest interface, packet filters,
// address translation, DHCP, DNS and the way to the metadata service.
//
// It knows routers, ports and filters; it knows nothing of accounts or
// instances.
package fabric

import (
	"net/netip"
)

// Config is all that this host's network must be; what is ours and not in it
// goes.
type Config struct {
	Routers []Router
}

// A Router is one VPC on this host.
type Router struct {
	ID      string         // "vpc-…": the namespace's name derives from it
	VNI     uint32         // 1 … 2^24-1, unique in the cloud
	CIDRs   []netip.Prefix // of the VPC
	Subnets []Subnet
	Groups  []Group
	Ports   []Port // on this host
	Names   []Name // what the VPC's DNS answers for, besides recursion
	Domain  string // DHCP domain name, "az1.eucad.internal"
}

// A Subnet gives its ports a gateway (the prefix's first address + 1).
type Subnet struct {
	ID     string
	Prefix netip.Prefix
	ACL    string // network ACL id; the default one allows all
}

// A Group is a security group: what its members may receive and send.
type Group struct {
	ID      string
	Members []netip.Addr // private addresses of all its members in the VPC, on any host
	Ingress []Rule
	Egress  []Rule
}

// A Rule allows traffic. Several peers are alternatives.
type Rule struct {
	Protocol int            // IP protocol number; -1 for all
	From, To int            // ports, inclusive; for ICMP type and code, -1 for any
	Prefixes []netip.Prefix // peers by address
	Groups   []string       // peers by group id: the members of those groups
}

// A Port is one guest interface on this host.
type Port struct {
	ID        string     // "eni-…"
	Tap       string     // device name; see TapName
	MAC       string     // lower case, colons
	Addr      netip.Addr // primary private IPv4 address
	Secondary []netip.Addr
	Subnet    string                    // subnet id
	Public    netip.Addr                // public IPv4 address translated to Addr; zero for none
	PublicOf  map[netip.Addr]netip.Addr `json:",omitempty"` // public address by secondary private address
	Groups    []string                  // security groups it is in
	AnySource bool                      // true switches the source/destination check off
	Hostname  string                    // DHCP host name
	MTU       int
}

// A Name is one address record of a VPC's DNS; the reverse is answered too.
type Name struct {
	Name string // fully qualified, no trailing dot
	Addr netip.Addr
}

// TapName returns the name of the tap of the port id "eni-0123456789abcdef0":
// at most 15 bytes, as the kernel demands (IFNAMSIZ).
func TapName(id string) string {
	if len(id) > 15 {
		id = id[4:15]
	}
	return "tap" + id
}
