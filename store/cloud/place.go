package cloud

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Need is what an instance wants of a node.
type Need struct {
	Type       string // for messages
	Zone       string // "" for any
	Node       string // the only one that will do, for its disk is there; "" for any
	Arch       string // "" for any
	Hypervisor string // in EC2's words, as Node.Hypervisor has it; "" for any
	CPUs       int
	MemoryMiB  int
	DiskGiB    int64
	Last       string // for policies: the node of the zone that was last given a new instance, or ""
}

// A Candidate is a node that an instance may be placed on.
type Candidate struct {
	Node *Node // not to be changed
	Use  Use
	Turn int64 // larger than that of each node that was given a new instance before
}

// Free returns what is left for instances.
func (c *Candidate) Free() Capacity {
	return Capacity{c.Node.CPUs - c.Use.CPUs, c.Node.MemoryMiB - c.Use.MemoryMiB, c.Node.DiskGiB - c.Use.DiskGiB}
}

// A Fleet is the nodes of a cloud in the order of their names.
type Fleet []Candidate

// Give notes that node at has one more instance of this need.
func (f Fleet) Give(at int, n Need) {
	u, last := &f[at].Use, int64(0)
	*u = Use{u.Instances + 1, u.CPUs + n.CPUs, u.MemoryMiB + n.MemoryMiB, u.DiskGiB + n.DiskGiB}
	for i := range f {
		last = max(last, f[i].Turn)
	}
	f[at].Turn = last + 1
}

// Without returns the nodes but those where something may be left of the
// instance: a node that is to remove its copy can't be told to run it too.
// It reuses the memory of f.
func (f Fleet) Without(strays []Stray) Fleet {
	return slices.DeleteFunc(f, func(c Candidate) bool {
		return slices.ContainsFunc(strays, func(s Stray) bool { return s.Node == c.Node.Name })
	})
}

// A verdict says whether a node may have an instance, and if not, why.
type verdict uint8

const (
	fits verdict = iota
	tooSmall
	isCordoned
	isLost
	otherArch
	otherHypervisor
	otherZone
	otherNode
	verdicts
)

// judge checks everything that no policy may overrule.
func (n *Need) judge(c *Candidate) verdict {
	switch node := c.Node; {
	case n.Node != "" && n.Node != node.Name:
		return otherNode
	case n.Zone != "" && n.Zone != node.Zone:
		return otherZone
	case n.Arch != "" && n.Arch != node.Arch:
		return otherArch
	case n.Hypervisor != "" && n.Hypervisor != node.Hypervisor():
		return otherHypervisor
	case node.Cordoned:
		return isCordoned
	case node.Lost:
		return isLost
	}
	if f := c.Free(); n.CPUs > f.CPUs || n.MemoryMiB > f.MemoryMiB || n.DiskGiB > f.DiskGiB {
		return tooSmall
	}
	return fits
}

// Place returns the node for an instance: the one that p picks of those that
// may have it. A policy that fails gives way to the default one, which the
// choice tells. When nothing fits Place returns InsufficientInstanceCapacity,
// which says what is missing where least is.
func (f Fleet) Place(p Policy, need Need) (Choice, error) {
	c := Choice{Policy: p.Name(), fleet: f, verdicts: make([]verdict, len(f))}
	fit, turn := 0, int64(0)
	for i := range f {
		v := need.judge(&f[i])
		c.verdicts[i] = v
		if v == fits {
			fit++
		}
		if t := f[i].Turn; t > turn && v != otherZone {
			need.Last, turn = f[i].Node.Name, t
		}
	}
	c.need = need
	if fit == 0 {
		return c, need.short(&c)
	}
	if i, ok := f.ByName(need.Node); ok { // there is no choice
		c.Policy, c.At, c.Node, c.Why = "", i, need.Node, "has its disks"
		return c, nil
	}
	nodes, at := f, []int(nil)
	if fit < len(f) {
		nodes, at = make(Fleet, 0, fit), make([]int, 0, fit)
		for i, v := range c.verdicts {
			if v == fits {
				nodes, at = append(nodes, f[i]), append(at, i)
			}
		}
	}
	got, err := pick(p, nodes, need)
	if errors.Is(err, ErrNowhere) {
		return c, need.insufficient(fmt.Sprintf("the placement policy %s takes none of the %d nodes that have room", p.Name(), fit))
	}
	if err != nil {
		c.Failure, c.Policy = p.Name()+": "+err.Error(), DefaultPolicy.Name()
		p = DefaultPolicy
		if got, err = pick(p, nodes, need); err != nil {
			return c, err
		}
	}
	if c.At = got; at != nil {
		c.At = at[got]
	}
	c.Node, c.Why = f[c.At].Node.Name, reason(p)
	return c, nil
}

// pick asks the policy and checks what it says.
func pick(p Policy, nodes Fleet, need Need) (int, error) {
	at, err := p.Pick(nodes, need)
	if err == nil && (at < 0 || at >= len(nodes)) {
		err = fmt.Errorf("picked node %d of %d", at, len(nodes))
	}
	return at, err
}

// short is the Fault of a need for which no node has room.
func (n *Need) short(c *Choice) error {
	best, least := -1, 0.0
	for i, v := range c.verdicts {
		if v != tooSmall {
			continue
		}
		if much := n.lack(&c.fleet[i]); best < 0 || much < least {
			best, least = i, much
		}
	}
	switch {
	case best >= 0:
		return n.insufficient(n.lacks(&c.fleet[best]))
	case n.Arch != "":
		return n.insufficient("no node of " + n.Arch + " is in service")
	}
	return n.insufficient("no node is in service")
}

func (n *Need) insufficient(why string) error {
	where := ""
	if n.Zone != "" {
		where = " in the Availability Zone you requested (" + n.Zone + ")"
	}
	return Faultf("InsufficientInstanceCapacity", "We currently do not have sufficient %s capacity%s: %s.", n.Type, where, why)
}

// lack says how much the candidate lacks, as a share of the need.
func (n *Need) lack(c *Candidate) float64 {
	f := c.Free()
	share := func(want, free int64) float64 {
		if free = max(free, 0); want > free {
			return float64(want-free) / float64(want)
		}
		return 0
	}
	return share(int64(n.MemoryMiB), int64(f.MemoryMiB)) + share(int64(n.CPUs), int64(f.CPUs)) + share(n.DiskGiB, f.DiskGiB)
}

// lacks says what the candidate lacks.
func (n *Need) lacks(c *Candidate) string {
	var all []string
	f := c.Free()
	check := func(what string, want, free int64) {
		if free = max(free, 0); want > free {
			all = append(all, fmt.Sprintf("%d %s missing (%d needed, %d free)", want-free, what, want, free))
		}
	}
	check("MiB of memory", int64(n.MemoryMiB), int64(f.MemoryMiB))
	check("CPUs", int64(n.CPUs), int64(f.CPUs))
	check("GiB of disk", n.DiskGiB, f.DiskGiB)
	return strings.Join(all, ", ")
}
