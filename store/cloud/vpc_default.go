package cloud

import (
	"net/netip"
	"slices"
	"time"
)

// DefaultCIDR is the range of every account's default VPC, as on EC2.
var DefaultCIDR = netip.MustParsePrefix("172.31.0.0/16")

// MaxZones is how many /20 subnets fit into DefaultCIDR.
const MaxZones = 16

// A Network is a VPC with all its parts.
type Network struct {
	Vpc     Vpc
	Subnets []Subnet
	Gateway Gateway
	Routes  RouteTable
	Acl     Acl
	Group   Group // the default security group
}

// NewDefaultNetwork returns the default VPC that each account starts with: a
// /20 subnet in each zone, an internet gateway, and the main route table,
// network ACL and security group of it (EC2 docs: "Default VPCs").
func NewDefaultNetwork(account string, zones []string, now time.Time) Network {
	v := Vpc{ID: NewID("vpc"), AccountID: account, CIDR: DefaultCIDR, Default: true,
		DhcpOptionsID: NewID("dopt"), DNSSupport: true, DNSHostnames: true, Created: now}
	n := Network{Vpc: v, Gateway: Gateway{ID: NewID("igw"), AccountID: account, VpcID: v.ID}}
	n.Routes = RouteTable{ID: NewID("rtb"), AccountID: account, VpcID: v.ID, Main: true, AssociationID: NewID("rtbassoc"),
		Routes: []Route{
			{Dest: v.CIDR, Gateway: "local", Origin: "CreateRouteTable"},
			{Dest: AnyIPv4, Gateway: n.Gateway.ID, Origin: "CreateRoute"},
		}}
	n.Acl = NewDefaultAcl(v)
	for _, s := range DefaultSubnets(v, nil, zones) {
		n.AddSubnet(s)
	}
	n.Group = NewDefaultGroup(v, now)
	return n
}

// DefaultSubnets returns the subnets that a default VPC lacks: the first free /20
// for each zone that is in none of those it has.
func DefaultSubnets(v Vpc, have []Subnet, zones []string) []Subnet {
	var out []Subnet
	next := 0
	for _, zone := range zones {
		if slices.ContainsFunc(have, func(s Subnet) bool { return s.Zone == zone }) {
			continue
		}
		for ; next < MaxZones; next++ {
			a := v.CIDR.Addr().As4()
			a[2] = byte(next * 16)
			p := netip.PrefixFrom(netip.AddrFrom4(a), 20)
			if !slices.ContainsFunc(have, func(s Subnet) bool { return s.CIDR.Overlaps(p) }) {
				out = append(out, Subnet{ID: NewID("subnet"), AccountID: v.AccountID, VpcID: v.ID, Zone: zone, CIDR: p, Default: true, MapPublic: true})
				next++
				break
			}
		}
	}
	return out
}

// AddSubnet adds s under the network's ACL.
func (n *Network) AddSubnet(s Subnet) {
	s.AclID = n.Acl.ID
	n.Subnets = append(n.Subnets, s)
	n.Acl.Associations = append(n.Acl.Associations, AclAssociation{NewID("aclassoc"), s.ID})
}

// AnyIPv4 is 0.0.0.0/0.
var AnyIPv4 = netip.MustParsePrefix("0.0.0.0/0")

// NewDefaultAcl returns the network ACL a VPC is born with: it allows all.
func NewDefaultAcl(v Vpc) Acl {
	a := Acl{ID: NewID("acl"), AccountID: v.AccountID, VpcID: v.ID, Default: true}
	for _, egress := range []bool{true, false} {
		a.Entries = append(a.Entries,
			AclEntry{Number: 100, Protocol: -1, Allow: true, Egress: egress, CIDR: AnyIPv4},
			AclEntry{Number: 32767, Protocol: -1, Egress: egress, CIDR: AnyIPv4})
	}
	return a
}

// NewDefaultGroup returns the security group a VPC is born with: all from its
// own members in, all out.
func NewDefaultGroup(v Vpc, now time.Time) Group {
	g := Group{ID: NewID("sg"), AccountID: v.AccountID, Name: "default", Description: "default VPC security group", VpcID: v.ID, Created: now}
	g.Rules = []Rule{
		{ID: NewID("sgr"), Protocol: -1, From: -1, To: -1, GroupID: g.ID, GroupOwner: v.AccountID},
		AllowAllEgress(),
	}
	return g
}

// AllowAllEgress is the rule every new security group of a VPC starts with.
func AllowAllEgress() Rule {
	return Rule{ID: NewID("sgr"), Egress: true, Protocol: -1, From: -1, To: -1, CIDR: AnyIPv4}
}
