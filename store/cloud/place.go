package cloud

import (
	"fmt"
	"strings"
)

// A Need is what an instance wants of a node.
type Need struct {
	Type      string // for messages
	Zone      string // "" for any
	Node      string // the only one that will do, for its disk is there; "" for any
	Arch      string // "" for any
	CPUs      int
	MemoryMiB int
	DiskGiB   int64
}

// Add returns what u is with an instance of this need on top.
func (u Use) Add(n Need) Use {
	return Use{u.Instances + 1, u.CPUs + n.CPUs, u.MemoryMiB + n.MemoryMiB, u.DiskGiB + n.DiskGiB}
}

// Place returns the node for an instance: of those where it fits, the one
// with the most free memory. When it fits nowhere it returns
// InsufficientInstanceCapacity, which says what is missing where least is.
func Place(nodes []Node, use map[string]Use, need Need) (Node, error) {
	best, free := -1, 0
	why, least := "no node of "+need.Arch+" is in service", 0.0
	if need.Arch == "" {
		why = "no node is in service"
	}
	for i, n := range nodes {
		if n.Cordoned || need.Zone != "" && n.Zone != need.Zone || need.Node != "" && n.Name != need.Node || need.Arch != "" && n.Arch != need.Arch {
			continue
		}
		u := use[n.Name]
		if text, much := need.lack(n, u); text != "" {
			if least == 0 || much < least {
				why, least = text, much
			}
			continue
		}
		if f := n.MemoryMiB - u.MemoryMiB; best < 0 || f > free || f == free && n.Name < nodes[best].Name {
			best, free = i, f
		}
	}
	if best >= 0 {
		return nodes[best], nil
	}
	where := ""
	if need.Zone != "" {
		where = " in the Availability Zone you requested (" + need.Zone + ")"
	}
	return Node{}, Faultf("InsufficientInstanceCapacity", "We currently do not have sufficient %s capacity%s: %s.", need.Type, where, why)
}

// lack says what node n, used as u, lacks for the need, and how much that is
// as a share of the need; "" when it lacks nothing.
func (need Need) lack(n Node, u Use) (text string, much float64) {
	var lacks []string
	check := func(what string, want, free int64) {
		free = max(free, 0)
		if want <= free {
			return
		}
		lacks = append(lacks, fmt.Sprintf("%d %s missing (%d needed, %d free)", want-free, what, want, free))
		much += float64(want-free) / float64(want)
	}
	check("MiB of memory", int64(need.MemoryMiB), int64(n.MemoryMiB-u.MemoryMiB))
	check("CPUs", int64(need.CPUs), int64(n.CPUs-u.CPUs))
	check("GiB of disk", need.DiskGiB, n.DiskGiB-u.DiskGiB)
	return strings.Join(lacks, ", "), much
}
