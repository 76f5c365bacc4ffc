package cloud

import "time"

// A Node is a host that runs instances.
type Node struct {
	Name      string
	Zone      string
	Arch      string
	Kind      string // hypervisor: "kvm", "qemu", "sim"
	CPUs      int    // for instances, over-commit included
	MemoryMiB int
	DiskGiB   int64
	Cordoned  bool
	Seen      time.Time
}

// A Use is what instances occupy of a node.
type Use struct {
	Instances int
	CPUs      int
	MemoryMiB int
	DiskGiB   int64
}
