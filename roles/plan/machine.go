package plan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eucad/hyper"
	"eucad/net/fabric"
	"eucad/store/cloud"
)

// A Site holds what is the same for all instances.
type Site struct {
	Region string
	Domain string       // of public names
	MTU    int          // of guests' interfaces; 0 leaves it to the fabric
	Public netip.Prefix // of public addresses, for zones that have none of their own
}

// InstanceRows are the rows that make one machine.
type InstanceRows struct {
	Instance   cloud.Instance
	Interfaces []cloud.Interface
	Volumes    []cloud.Volume
	Addresses  []cloud.Address // of its interfaces
	Groups     []cloud.Group   // of its interfaces
	Subnets    []cloud.Subnet
	Vpc        cloud.Vpc
	Tags       []cloud.Tag
}

// NewMachine returns what the instance's node should make of it.
func NewMachine(s Site, r InstanceRows) Machine {
	i := r.Instance
	m := Machine{
		Machine: hyper.Machine{
			ID: i.ID, UUID: i.UUID(), Power: power(i), Boot: i.Boot,
			CPUs: i.CPUs, MemoryMiB: i.MemoryMiB, UEFI: i.UEFI,
			Kernel: i.KernelHash, Initrd: i.RamdiskHash,
		},
		VpcID: i.VpcID, Since: i.Since,
		Ended: i.State == cloud.ShuttingDown || i.State == cloud.Terminated,
	}
	if m.Kernel != "" {
		m.Cmdline = "root=/dev/vda1 ro console=ttyS0"
	}
	m.Movable = !i.NoAutoRecovery && cloud.OnNetwork(r.Volumes)
	for n, mapping := range i.Volumes {
		if v, ok := find(r.Volumes, func(v cloud.Volume) bool { return v.ID == mapping.VolumeID }); ok {
			m.Disks = append(m.Disks, disk(n, v))
		}
		if !mapping.DeleteOnTermination {
			m.Keep = append(m.Keep, mapping.VolumeID)
		}
	}
	slices.SortFunc(r.Interfaces, func(a, b cloud.Interface) int { return int(a.DeviceIndex - b.DeviceIndex) })
	for _, n := range r.Interfaces {
		m.Ports = append(m.Ports, n.ID)
		m.NICs = append(m.NICs, hyper.NIC{Tap: fabric.TapName(n.ID), MAC: n.MAC, MTU: s.MTU})
	}
	if !m.Ended {
		m.Metadata = metadata(s, r)
		m.Meta = record(i)
	}
	return m
}

// power returns what an instance in its state should be doing.
func power(i cloud.Instance) hyper.Power {
	switch {
	case i.State == cloud.Pending || i.State == cloud.Running:
		return hyper.On
	case i.State == cloud.Stopping && !i.Cut:
		return hyper.Off
	}
	return hyper.Cut
}

func disk(n int, v cloud.Volume) hyper.Disk {
	return hyper.Disk{ID: v.ID, Format: "qcow2", Base: v.Hash, SizeBytes: v.SizeGiB << 30, Target: "vd" + string(rune('a'+n)), Epoch: v.Epoch}
}

// NewStray returns what a node is told of an instance that was taken from it:
// its copy is over.
func NewStray(s cloud.Stray) Machine {
	return Machine{
		Machine: hyper.Machine{ID: s.InstanceID, UUID: cloud.UUIDOf(s.InstanceID), Power: hyper.Cut},
		VpcID:   s.VpcID, Ports: s.Interfaces, Ended: true,
	}
}

// record is what is kept with the domain, so that a lost store can be rebuilt
// from the nodes.
func record(i cloud.Instance) []byte {
	i.UserData = nil // may hold secrets, and is large
	b, err := json.Marshal(i)
	if err != nil {
		panic(fmt.Sprintf("instance %s cannot be JSON: %v", i.ID, err)) // only plain fields
	}
	return b
}

// metadata returns what the instance may learn of itself.
func metadata(s Site, r InstanceRows) *cloud.Metadata {
	i := r.Instance
	m := &cloud.Metadata{
		InstanceID: i.ID, AccountID: i.AccountID, ReservationID: i.ReservationID, LaunchIndex: i.LaunchIndex,
		ImageID: i.ImageID, KernelID: i.KernelID, RamdiskID: i.RamdiskID, Type: i.Type, Arch: i.Arch,
		Region: s.Region, Zone: i.Zone, ZoneID: cloud.ZoneID(s.Region, i.Zone), Domain: s.Domain, Launched: i.Launched,
		Hostname: cloud.PrivateName(i.PrivateIP, s.Region), UserData: i.UserData,
		KeyName: i.KeyName, PublicKey: i.PublicKey, Tags: r.Tags, Options: i.Metadata,
	}
	for n, v := range i.Volumes {
		name := fmt.Sprintf("ebs%d", n)
		if n == 0 {
			name = "ami"
			m.Mappings = append(m.Mappings, cloud.MetadataMapping{Name: "root", Device: i.RootDevice})
		}
		m.Mappings = append(m.Mappings, cloud.MetadataMapping{Name: name, Device: strings.TrimPrefix(v.Device, "/dev/")})
	}
	for n, eni := range r.Interfaces {
		mi := metadataInterface(s, r, eni)
		if n == 0 {
			m.Groups, m.PublicHostname = mi.GroupNames, mi.PublicHostname
		}
		m.Interfaces = append(m.Interfaces, mi)
	}
	return m
}

func metadataInterface(s Site, r InstanceRows, n cloud.Interface) cloud.MetadataInterface {
	mi := cloud.MetadataInterface{
		ID: n.ID, MAC: n.MAC, DeviceIndex: n.DeviceIndex, Hostname: cloud.PrivateName(n.PrivateIP, s.Region),
		SubnetID: n.SubnetID, VpcID: n.VpcID, VpcCIDR: r.Vpc.CIDR, GroupIDs: n.Groups,
	}
	if sub, ok := find(r.Subnets, func(u cloud.Subnet) bool { return u.ID == n.SubnetID }); ok {
		mi.SubnetCIDR = sub.CIDR
	}
	for _, ip := range append([]netip.Addr{n.PrivateIP}, n.Secondary...) {
		mi.PrivateIPs = append(mi.PrivateIPs, ip)
		mi.PublicIPs = append(mi.PublicIPs, publicOf(r.Addresses, n, ip))
	}
	if p := mi.PublicIPs[0]; p.IsValid() {
		mi.PublicHostname = cloud.PublicName(p, s.Region, s.Domain)
	}
	for _, id := range n.Groups {
		if g, ok := find(r.Groups, func(g cloud.Group) bool { return g.ID == id }); ok {
			mi.GroupNames = append(mi.GroupNames, g.Name)
		}
	}
	return mi
}

// publicOf returns the public address that leads to ip of interface n, or the zero Addr.
func publicOf(as []cloud.Address, n cloud.Interface, ip netip.Addr) netip.Addr {
	for _, a := range as {
		if a.InterfaceID == n.ID && (a.PrivateIP == ip || !a.PrivateIP.IsValid() && ip == n.PrivateIP) {
			return a.IP
		}
	}
	return netip.Addr{}
}

func find[T any](s []T, is func(T) bool) (T, bool) {
	if i := slices.IndexFunc(s, is); i >= 0 {
		return s[i], true
	}
	var zero T
	return zero, false
}
