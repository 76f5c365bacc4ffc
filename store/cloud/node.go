package cloud

import (
	"fmt"
	"time"
)

// A Node is a host that runs instances.
type Node struct {
	Name      string
	Zone      string
	Arch      string
	Kind      string // hypervisor: "kvm", "qemu", "xen", "sim"
	CPUs      int    // for instances, over-commit included
	MemoryMiB int
	DiskGiB   int64
	Host      Capacity // what it has, before over-commit
	Cordoned  bool     // takes no more instances, for an administrator said so
	Lost      bool     `json:",omitempty"` // was not heard of for too long; see roles/control
	Fence     Fence    `json:",omitzero"`
	Seen      time.Time
	Version   string `json:",omitempty"` // of its eucad, when it has told
	Net       Net    `json:",omitzero"`
}

// A Fence is what a zone's head is to know of a node's lease; see roles/control.
type Fence struct {
	Number uint64 // grows with each change
	On     bool   `json:",omitempty"` // the node gets no lease
	Lift   bool   `json:",omitempty"` // the node gets leases again, and the head has not been told yet
}

// A Capacity is how much a host has.
type Capacity struct {
	CPUs      int
	MemoryMiB int
	DiskGiB   int64
}

// An Overcommit is how much of each resource instances may be promised for
// each that a host has.
type Overcommit struct{ CPU, Memory, Disk float64 }

// SetHost gives the node what its host has: instances may be promised that
// much times the over-commit.
func (n *Node) SetHost(h Capacity, o Overcommit) {
	n.Host = h
	n.CPUs = int(float64(h.CPUs) * o.CPU)
	n.MemoryMiB = int(float64(h.MemoryMiB) * o.Memory)
	n.DiskGiB = int64(float64(h.DiskGiB) * o.Disk)
}

// Hypervisor is how EC2 calls what the node runs: xen, or kvm for anything else.
func (n *Node) Hypervisor() string {
	if n.Kind == "xen" {
		return "xen"
	}
	return "kvm"
}

// A Use is what instances occupy of a node.
type Use struct {
	Instances int
	CPUs      int
	MemoryMiB int
	DiskGiB   int64
}

// ZoneID returns the zone's id that is the same for every account, as EC2's
// "use1-az1": the region's name, "az", and the zone's letter as a number.
func ZoneID(region, zone string) string {
	if l := len(zone) - 1; l >= 0 && zone[l] >= 'a' && zone[l] <= 'z' {
		return fmt.Sprintf("%s-az%d", region, zone[l]-'a'+1)
	}
	return zone
}
