package cloud

import (
	"net/netip"
	"time"
)

// A Vpc is a private network of one account.
type Vpc struct {
	ID            string
	AccountID     string
	CIDR          netip.Prefix
	Default       bool
	VNI           uint32 // its number on the wire, unique in the cloud
	DhcpOptionsID string
	DNSSupport    bool
	DNSHostnames  bool
	Created       time.Time
}

// A Subnet is a part of a Vpc in one zone.
type Subnet struct {
	ID           string
	AccountID    string
	VpcID        string
	Zone         string
	CIDR         netip.Prefix
	Default      bool
	MapPublic    bool   // new interfaces get a public address
	RouteTableID string `json:",omitempty"` // "" means the Vpc's main one
	AclID        string
}

// A Gateway is an internet gateway.
type Gateway struct {
	ID        string
	AccountID string
	VpcID     string // attached to; "" for none
}

// A RouteTable says where a subnet's packets go.
type RouteTable struct {
	ID            string
	AccountID     string
	VpcID         string
	Main          bool
	AssociationID string // of the main association
	Routes        []Route
}

// A Route is one line of a RouteTable.
type Route struct {
	Dest    netip.Prefix
	Gateway string // "local" or an igw- id
	Origin  string // "CreateRouteTable" or "CreateRoute"
}

// An Acl is a network ACL: stateless filters at a subnet's edge.
type Acl struct {
	ID           string
	AccountID    string
	VpcID        string
	Default      bool
	Entries      []AclEntry
	Associations []AclAssociation
}

// An AclAssociation joins a subnet to an Acl.
type AclAssociation struct{ ID, SubnetID string }

// An AclEntry is one numbered rule of an Acl; 32767 is the closing "*".
type AclEntry struct {
	Number   int64
	Protocol int // -1 for all
	Allow    bool
	Egress   bool
	CIDR     netip.Prefix
	From, To int
}
