package plan

import (
	"net/netip"
	"slices"
	"strings"

	"eucad/net/fabric"
	"eucad/store/cloud"
)

// VpcRows are the rows that make one router.
type VpcRows struct {
	Vpc        cloud.Vpc
	Subnets    []cloud.Subnet
	Groups     []cloud.Group
	Interfaces []cloud.Interface // all in the VPC
	Addresses  []cloud.Address   // of those
	Here       map[string]bool   // instances that this node has on its hands
}

// NewRouter returns the VPC as the node with the instances r.Here should make
// it, and false when it has nothing to make of it.
func NewRouter(s Site, r VpcRows) (fabric.Router, bool) {
	out := fabric.Router{ID: r.Vpc.ID, VNI: r.Vpc.VNI, CIDRs: []netip.Prefix{r.Vpc.CIDR}, Domain: cloud.PrivateDomain(s.Region)}
	for _, sub := range r.Subnets {
		out.Subnets = append(out.Subnets, fabric.Subnet{ID: sub.ID, Prefix: sub.CIDR, ACL: sub.AclID})
	}
	members := map[string][]netip.Addr{}
	for _, n := range r.Interfaces {
		ips := append([]netip.Addr{n.PrivateIP}, n.Secondary...)
		for _, g := range n.Groups {
			members[g] = append(members[g], ips...)
		}
		out.Names = append(out.Names, names(s, r, n)...)
		if r.Here[n.InstanceID] {
			out.Ports = append(out.Ports, port(s, r, n))
		}
	}
	for _, g := range r.Groups {
		out.Groups = append(out.Groups, group(g, members[g.ID]))
	}
	return out, len(out.Ports) > 0
}

func port(s Site, r VpcRows, n cloud.Interface) fabric.Port {
	p := fabric.Port{
		ID: n.ID, Tap: fabric.TapName(n.ID), MAC: n.MAC, Addr: n.PrivateIP, Secondary: n.Secondary, Subnet: n.SubnetID,
		Public: publicOf(r.Addresses, n, n.PrivateIP), Groups: n.Groups, AnySource: n.NoSourceDestCheck,
		Hostname: cloud.PrivateHost(n.PrivateIP), MTU: s.MTU,
	}
	for _, ip := range n.Secondary {
		if pub := publicOf(r.Addresses, n, ip); pub.IsValid() {
			if p.PublicOf == nil {
				p.PublicOf = map[netip.Addr]netip.Addr{}
			}
			p.PublicOf[pub] = ip
		}
	}
	return p
}

// names returns what the VPC's DNS says of an interface. Its public name
// leads to the private address inside the VPC (EC2 docs: "DNS attributes for your VPC").
func names(s Site, r VpcRows, n cloud.Interface) []fabric.Name {
	out := []fabric.Name{{Name: cloud.PrivateName(n.PrivateIP, s.Region), Addr: n.PrivateIP}}
	if pub := publicOf(r.Addresses, n, n.PrivateIP); pub.IsValid() {
		out = append(out, fabric.Name{Name: cloud.PublicName(pub, s.Region, s.Domain), Addr: n.PrivateIP})
	}
	return out
}

// group translates a security group. Rules that differ only in their peer
// become one.
func group(g cloud.Group, members []netip.Addr) fabric.Group {
	slices.SortFunc(members, netip.Addr.Compare)
	return fabric.Group{ID: g.ID, Members: members, Ingress: rules(g.Rules, false), Egress: rules(g.Rules, true)}
}

func rules(all []cloud.Rule, egress bool) []fabric.Rule {
	type class struct{ protocol, from, to int }
	at := map[class]int{}
	var out []fabric.Rule
	for _, r := range all {
		if r.Egress != egress {
			continue
		}
		c := class{r.Protocol, r.From, r.To}
		i, ok := at[c]
		if !ok {
			i = len(out)
			at[c] = i
			out = append(out, fabric.Rule{Protocol: r.Protocol, From: r.From, To: r.To})
		}
		switch {
		case r.GroupID != "":
			out[i].Groups = append(out[i].Groups, r.GroupID)
		case r.CIDR.IsValid():
			out[i].Prefixes = append(out[i].Prefixes, r.CIDR)
		}
	}
	slices.SortStableFunc(out, func(a, b fabric.Rule) int {
		if a.Protocol != b.Protocol {
			return a.Protocol - b.Protocol
		}
		if a.From != b.From {
			return a.From - b.From
		}
		return a.To - b.To
	})
	for i := range out {
		slices.SortFunc(out[i].Prefixes, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
		slices.Sort(out[i].Groups)
	}
	return out
}
