// Package fabric makes one host's network match a Config: a router (network
// namespace) per VPC, a routed tap per guest interface, packet filters,
// address translation, DHCP, DNS and the way to the metadata service.
//
// Routers of the same VPC on several hosts are joined by VXLAN, from each host
// to each other that has a port of it, or by way of heads that pass packets on.
// What leads to the ports of other hosts, and to and from public networks, is
// said router by router:
//
//	                     Remotes                        Exit       Transit  Gateway, Publics
//	node, regime edge    hosts; other zones' by head    –          –        –
//	node, regime head    hosts; other zones' by head    own head   –        –
//	head, regime edge    own zone's; others' by heads   –          yes      –
//	head, regime head    own zone's; others' by heads   –          yes      yes
//
// In the regime edge each host has the public network and answers there for
// its own ports; in the regime head only the head has it, and answers for the
// ports of its nodes.
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

	// Public holds the public addresses, if it is not the zero Prefix: they are
	// others than Options.PublicPrefix says.
	Public netip.Prefix `json:",omitzero"`
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

	// Remotes are the addresses of ports on other hosts. Those whose Host is this
	// one are passed over, and an address of one of Ports is here whatever they
	// say: one list may do for all hosts of a zone.
	Remotes []Remote `json:",omitempty"`

	// Exit is the tunnel address of the host by which guests leave, and which
	// answers for their public addresses. Zero: this host does.
	Exit netip.Addr `json:",omitzero"`

	// Transit has the router pass packets on from one of Remotes to another.
	Transit bool `json:",omitempty"`

	// Gateway has the router do for the guests of Remotes what it does for its
	// own: let them out, and translate their public addresses, which are Publics.
	Gateway bool                      `json:",omitempty"`
	Publics map[netip.Addr]netip.Addr `json:",omitempty"` // private address by public address, of ports on other hosts
}

// Wanted reports whether a host has use for the router: it has ports, or does
// something for other hosts.
func (r *Router) Wanted() bool { return len(r.Ports) > 0 || r.Transit || r.Gateway }

// A Remote is a private address that a port on another host has.
type Remote struct {
	Addr netip.Addr

	// Host is the tunnel address of that host, or of one that knows the way.
	Host netip.Addr

	// Port is the id of the port. As long as it stays the same, connections of
	// the address go on wherever the port is; they are forgotten when another
	// gets the address. When it is not given, another Host means another port.
	Port string `json:",omitempty"`
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
