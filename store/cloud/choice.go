package cloud

import "fmt"

// A Choice is where an instance was placed, and why there.
type Choice struct {
	At      int    `json:"-"` // in the fleet
	Node    string // its name
	Policy  string // that decided; "" where there was no choice
	Why     string // what the node has over the others
	Failure string `json:",omitempty"` // of the site's own policy, for which the default one stood in
	// Others tells of up to MaxOthers nodes why they were not chosen, Rest
	// the same of all further ones, by reason.
	Others []Other `json:",omitempty"`
	Rest   []Rest  `json:",omitempty"`

	need     Need
	fleet    Fleet
	verdicts []verdict
}

// On returns the chosen node.
func (c *Choice) On() *Node { return c.fleet[c.At].Node }

// An Other is a node that was not chosen.
type Other struct{ Node, Why string }

// A Rest counts further nodes that were not chosen for one reason.
type Rest struct {
	Nodes int
	Why   string
}

// MaxOthers is how many nodes a Choice names beside its own: enough for a
// cloud of racks, and small beside the instance's other rows.
const MaxOthers = 64

// told are the verdicts in the order in which nodes are named: what may
// surprise comes first. That a disk is elsewhere is no news of a node.
var told = []struct {
	verdict verdict
	why     string // of many nodes
}{
	{tooSmall, "have too little room"}, {isCordoned, "are cordoned"}, {isLost, "are not heard of"},
	{otherArch, "have another architecture"}, {otherHypervisor, "have another hypervisor"},
	{fits, "would do"}, {otherZone, "are in another zone"},
}

// Explain fills in why the other nodes were not chosen. It must be called
// before the fleet that the choice was made of changes.
func (c *Choice) Explain() {
	var count [verdicts]int
	for i, v := range c.verdicts {
		if i != c.At {
			count[v]++
		}
	}
	for _, t := range told {
		for i, v := range c.verdicts {
			if count[t.verdict] == 0 || len(c.Others) == MaxOthers {
				break
			}
			if v == t.verdict && i != c.At {
				c.Others = append(c.Others, Other{c.fleet[i].Node.Name, c.whyNot(i)})
				count[v]--
			}
		}
		if n := count[t.verdict]; n > 0 {
			c.Rest = append(c.Rest, Rest{n, t.why})
		}
	}
	if n := count[otherNode]; n > 0 {
		c.Rest = append(c.Rest, Rest{n, "do not have its disks"})
	}
}

// whyNot says why node i was not chosen.
func (c *Choice) whyNot(i int) string {
	n := c.fleet[i].Node
	switch c.verdicts[i] {
	case tooSmall:
		return c.need.lacks(&c.fleet[i])
	case isCordoned:
		return "is cordoned"
	case isLost:
		return "is not heard of"
	case otherArch:
		return "has the architecture " + n.Arch
	case otherHypervisor:
		return "has the hypervisor " + n.Hypervisor()
	case otherZone:
		return "is in zone " + n.Zone
	}
	f := c.fleet[i].Free()
	return fmt.Sprintf("would do, with %d CPUs, %d MiB and %d GiB free", f.CPUs, f.MemoryMiB, f.DiskGiB)
}
