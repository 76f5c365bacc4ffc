package plan

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"eucad/net/fabric"
	"eucad/store/cloud"
)

// A Vpc is what all hosts of a VPC must know of it. It is a document of its
// own, shared by the plans of the hosts that need it, and told to them by
// Updates, so that what a change costs does not depend on the size of the VPC.
type Vpc struct {
	ID      string
	Rev     uint64 // of the last change in it
	VNI     uint32
	CIDRs   []netip.Prefix
	Domain  string // of DNS names
	Subnets []fabric.Subnet
	Groups  map[string]Group // by id
	Ifaces  map[string]Iface // by id
}

// A Group is a security group; its members are told by the interfaces.
type Group struct {
	Ingress, Egress []fabric.Rule
}

// An Iface is a network interface: a port wherever its instance is.
type Iface struct {
	Port     fabric.Port
	Instance string        `json:",omitempty"`
	Host     string        `json:",omitempty"` // that has the instance on its hands; "" for none
	Names    []fabric.Name `json:",omitempty"`
}

// A VpcUpdate brings a Vpc of revision Base to revision Rev, or is Whole.
type VpcUpdate struct {
	ID     string
	Base   uint64            `json:",omitempty"`
	Rev    uint64            `json:",omitempty"`
	Whole  *Vpc              `json:",omitempty"`
	Groups map[string]*Group `json:",omitempty"` // nil: the group is gone
	Ifaces map[string]*Iface `json:",omitempty"` // nil: the interface is gone
}

// ErrBase says that an update is of another revision than the document has:
// a full copy is needed.
var ErrBase = errors.New("the VPC's document has another revision")

// Update makes the change u in v, which is replaced by a whole document.
func (v *Vpc) Update(u VpcUpdate) error {
	if u.Whole != nil {
		*v = *u.Whole
		v.Groups, v.Ifaces = maps.Clone(v.Groups), maps.Clone(v.Ifaces)
		if v.Groups == nil {
			v.Groups = map[string]Group{}
		}
		if v.Ifaces == nil {
			v.Ifaces = map[string]Iface{}
		}
		return nil
	}
	if u.Base != v.Rev {
		return fmt.Errorf("%w: %s has %d, the update is of %d", ErrBase, u.ID, v.Rev, u.Base)
	}
	for id, g := range u.Groups {
		if g == nil {
			delete(v.Groups, id)
		} else {
			v.Groups[id] = *g
		}
	}
	for id, n := range u.Ifaces {
		if n == nil {
			delete(v.Ifaces, id)
		} else {
			v.Ifaces[id] = *n
		}
	}
	v.Rev = u.Rev
	return nil
}

// Copy returns a document that later Updates of v leave alone. What hangs below
// the maps is never changed, only replaced.
func (v *Vpc) Copy() *Vpc {
	c := *v
	c.Groups, c.Ifaces = maps.Clone(v.Groups), maps.Clone(v.Ifaces)
	return &c
}

// NewVpc returns the document of a VPC without groups and interfaces.
func NewVpc(s Site, v cloud.Vpc, subnets []cloud.Subnet) *Vpc {
	out := &Vpc{ID: v.ID, VNI: v.VNI, CIDRs: []netip.Prefix{v.CIDR}, Domain: cloud.PrivateDomain(s.Region),
		Groups: map[string]Group{}, Ifaces: map[string]Iface{}}
	for _, sub := range subnets {
		out.Subnets = append(out.Subnets, fabric.Subnet{ID: sub.ID, Prefix: sub.CIDR, ACL: sub.AclID})
	}
	return out
}

// NewGroup translates a security group.
func NewGroup(g cloud.Group) Group {
	return Group{Ingress: rules(g.Rules, false), Egress: rules(g.Rules, true)}
}

// NewIface translates an interface, whose public addresses are in as; host
// has its instance.
func NewIface(s Site, n cloud.Interface, as []cloud.Address, host string) Iface {
	out := Iface{Instance: n.InstanceID, Host: host, Names: names(s, n, as), Port: fabric.Port{
		ID: n.ID, Tap: fabric.TapName(n.ID), MAC: n.MAC, Addr: n.PrivateIP, Secondary: n.Secondary, Subnet: n.SubnetID,
		Public: publicOf(as, n, n.PrivateIP), Groups: n.Groups, AnySource: n.NoSourceDestCheck,
		Hostname: cloud.PrivateHost(n.PrivateIP), MTU: s.MTU,
	}}
	for _, ip := range n.Secondary {
		if pub := publicOf(as, n, ip); pub.IsValid() {
			if out.Port.PublicOf == nil {
				out.Port.PublicOf = map[netip.Addr]netip.Addr{}
			}
			out.Port.PublicOf[pub] = ip
		}
	}
	return out
}

// names returns what the VPC's DNS says of an interface. Its public name
// leads to the private address inside the VPC (EC2 docs: "DNS attributes for your VPC").
func names(s Site, n cloud.Interface, as []cloud.Address) []fabric.Name {
	out := []fabric.Name{{Name: cloud.PrivateName(n.PrivateIP, s.Region), Addr: n.PrivateIP}}
	if pub := publicOf(as, n, n.PrivateIP); pub.IsValid() {
		out = append(out, fabric.Name{Name: cloud.PublicName(pub, s.Region, s.Domain), Addr: n.PrivateIP})
	}
	return out
}
