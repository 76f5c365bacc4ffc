package cloud

import (
	"net/netip"
	"time"
)

// An Interface is a network interface (ENI).
type Interface struct {
	ID                string
	AccountID         string
	VpcID             string
	SubnetID          string
	Zone              string
	Description       string `json:",omitempty"`
	MAC               string // lower case, colons
	PrivateIP         netip.Addr
	Secondary         []netip.Addr `json:",omitempty"`
	Groups            []string     // security group ids
	NoSourceDestCheck bool         `json:",omitempty"`

	InstanceID          string `json:",omitempty"`
	DeviceIndex         int64
	AttachmentID        string `json:",omitempty"`
	Attached            time.Time
	DeleteOnTermination bool
	WantsPublic         bool `json:",omitempty"` // gets a public address from the pool whenever its instance runs
	Created             time.Time
}

// An Address is a public IPv4 address in somebody's hands: an Elastic IP, or
// (Auto) one that an instance got from the pool and gives back when it stops.
type Address struct {
	ID            string // "eipalloc-…"
	AccountID     string
	IP            netip.Addr
	Auto          bool   `json:",omitempty"`
	Zone          string `json:",omitempty"` // of whose own public range it is; "": of the cloud's
	AssociationID string `json:",omitempty"`
	InterfaceID   string `json:",omitempty"`
	InstanceID    string `json:",omitempty"`
	PrivateIP     netip.Addr
	Created       time.Time
}
