package cloud

import (
	"cmp"
	"errors"
	"slices"
)

// A Policy chooses a node for an instance. It sees only nodes that may have
// it, and decides by what it is given alone, so that the same rows always
// come to the same node.
type Policy interface {
	// Name is what the policy is called in settings and explanations.
	Name() string
	// Pick returns the index of the chosen node in nodes, of which there is
	// at least one and which are in the order of their names. It must not
	// keep or change nodes. ErrNowhere refuses them all; after any other
	// error the default policy decides.
	Pick(nodes []Candidate, need Need) (int, error)
}

// ErrNowhere is what a Policy returns that wants an instance on none of the nodes.
var ErrNowhere = errors.New("no node will do")

// DefaultPolicy decides where a site has not chosen otherwise.
var DefaultPolicy Policy = policies[0]

// Policies returns the policies that eucad brings, the default one first.
func Policies() []Policy {
	var out []Policy
	for _, p := range policies {
		out = append(out, p)
	}
	return out
}

var policies = []builtin{
	{"spread", "has the most free memory", spread},
	{"greedy", "has the least free memory that will do", greedy},
	{"roundrobin", "is the next by name after the one last used", roundRobin},
	{"powersave", "is the fullest of those in use, or the first when those have no room", powerSave},
}

// A builtin is a policy that cannot fail.
type builtin struct {
	name string
	why  string // what the chosen node has over the others
	pick func(nodes []Candidate, need Need) int
}

func (b builtin) Name() string { return b.name }

func (b builtin) Pick(nodes []Candidate, need Need) (int, error) { return b.pick(nodes, need), nil }

// reason says what the node that p chose has over others.
func reason(p Policy) string {
	if b, ok := p.(builtin); ok {
		return b.why
	}
	return "is what " + p.Name() + " picked"
}

// least returns the index of the least node, the first of equals.
func least(nodes []Candidate, compare func(a, b *Candidate) int) int {
	best := 0
	for i := range nodes {
		if compare(&nodes[i], &nodes[best]) < 0 {
			best = i
		}
	}
	return best
}

func (c *Candidate) freeMemory() int { return c.Node.MemoryMiB - c.Use.MemoryMiB }

func spread(nodes []Candidate, _ Need) int {
	return least(nodes, func(a, b *Candidate) int { return b.freeMemory() - a.freeMemory() })
}

func greedy(nodes []Candidate, _ Need) int {
	return least(nodes, func(a, b *Candidate) int { return a.freeMemory() - b.freeMemory() })
}

func roundRobin(nodes []Candidate, need Need) int {
	i, _ := slices.BinarySearchFunc(nodes, need.Last, func(c Candidate, last string) int {
		if c.Node.Name <= last {
			return -1
		}
		return 1
	})
	return i % len(nodes)
}

func powerSave(nodes []Candidate, _ Need) int {
	return least(nodes, func(a, b *Candidate) int {
		switch aIdle, bIdle := a.Use.Instances == 0, b.Use.Instances == 0; {
		case aIdle && bIdle:
			return 0
		case aIdle:
			return 1
		case bIdle:
			return -1
		}
		return a.freeMemory() - b.freeMemory()
	})
}

// Sleepers returns the names of the nodes that may sleep under powersave:
// those without an instance, but for the first in service of each zone, which
// stays awake so that a launch need not wait for a host to boot.
func Sleepers(f Fleet) []string {
	var out []string
	spare := map[string]bool{}
	for i := range f {
		switch n := f[i].Node; {
		case f[i].Use.Instances > 0 || n.Lost:
		case n.Cordoned || spare[n.Zone]:
			out = append(out, n.Name)
		default:
			spare[n.Zone] = true
		}
	}
	return out
}

// ByName returns the index of the node of that name, and whether f has it.
func (f Fleet) ByName(name string) (int, bool) {
	return slices.BinarySearchFunc(f, name, func(c Candidate, name string) int { return cmp.Compare(c.Node.Name, name) })
}
