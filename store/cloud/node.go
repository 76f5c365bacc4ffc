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

// ZoneID returns the zone's id that is the same for every account, as EC2's
// "use1-az1": the region's name, "az", and the zone's letter as a number.
func ZoneID(region, zone string) string {
	if l := len(zone) - 1; l >= 0 && zone[l] >= 'a' && zone[l] <= 'z' {
		return fmt.Sprintf("%s-az%d", region, zone[l]-'a'+1)
	}
	return zone
}
