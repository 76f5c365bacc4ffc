package cloud

import (
	"net/netip"
	"time"
)

// Metadata is what an instance may learn of itself from the metadata service.
type Metadata struct {
	InstanceID     string
	AccountID      string
	ReservationID  string
	LaunchIndex    int64
	ImageID        string
	KernelID       string
	RamdiskID      string
	Type           string
	Arch           string
	Region         string
	Zone           string
	ZoneID         string
	Domain         string // of services: "amazonaws.com" on EC2, ours here
	Launched       time.Time
	Hostname       string // private DNS name
	PublicHostname string
	UserData       []byte // nil for none
	KeyName        string
	PublicKey      string // "" for none
	Mappings       []MetadataMapping
	Interfaces     []MetadataInterface // by device index; the first is primary
	Groups         []string            // names, of the primary interface
	Tags           []Tag
	Options        MetadataOptions
}

// A MetadataMapping is one line of block-device-mapping: "ami" → "sda1".
type MetadataMapping struct{ Name, Device string }

// A MetadataInterface is one folder of network/interfaces/macs.
type MetadataInterface struct {
	ID             string
	MAC            string
	DeviceIndex    int64
	PrivateIPs     []netip.Addr // the first is primary
	PublicIPs      []netip.Addr // of the private address at the same place; zero for none
	Hostname       string
	PublicHostname string
	SubnetID       string
	SubnetCIDR     netip.Prefix
	VpcID          string
	VpcCIDR        netip.Prefix
	GroupIDs       []string
	GroupNames     []string
}
