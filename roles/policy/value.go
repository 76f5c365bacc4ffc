package policy

import (
	"fmt"

	"go.starlark.net/starlark"

	"eucad/store/cloud"
)

// A record is a value whose attributes are made when they are asked for: a
// thousand nodes with all of theirs would cost more than the decision.
type record struct {
	kind  string
	names []string
	attr  func(name string) starlark.Value // nil for what it does not have
}

var _ starlark.HasAttrs = (*record)(nil)

func (r *record) String() string        { return fmt.Sprintf("<%s %s>", r.kind, r.attr(r.names[0])) }
func (r *record) Type() string          { return r.kind }
func (r *record) Freeze()               {} // nothing of it changes
func (r *record) Truth() starlark.Bool  { return true }
func (r *record) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable type: %s", r.kind) }
func (r *record) AttrNames() []string   { return r.names }

// Attr returns an attribute, or nil when there is none of that name.
func (r *record) Attr(name string) (starlark.Value, error) { return r.attr(name), nil }

func needValue(n cloud.Need) starlark.Value {
	return &record{"need", []string{"type", "zone", "arch", "cpus", "memory_mib", "disk_gib", "last"}, func(name string) starlark.Value {
		switch name {
		case "type":
			return starlark.String(n.Type)
		case "zone":
			return starlark.String(n.Zone)
		case "arch":
			return starlark.String(n.Arch)
		case "cpus":
			return starlark.MakeInt(n.CPUs)
		case "memory_mib":
			return starlark.MakeInt(n.MemoryMiB)
		case "disk_gib":
			return starlark.MakeInt64(n.DiskGiB)
		case "last":
			return starlark.String(n.Last)
		}
		return nil
	}}
}

// nodeNames are the attributes of a node, in the order of AttrNames.
var nodeNames = []string{"name", "zone", "arch", "kind", "instances", "cpus", "memory_mib", "disk_gib", "free_cpus", "free_memory_mib", "free_disk_gib"}

func nodeValues(nodes []cloud.Candidate) starlark.Value {
	out := make(starlark.Tuple, len(nodes))
	for i := range nodes {
		c := &nodes[i]
		out[i] = &record{"node", nodeNames, func(name string) starlark.Value { return nodeAttr(c, name) }}
	}
	return out
}

func nodeAttr(c *cloud.Candidate, name string) starlark.Value {
	switch name {
	case "name":
		return starlark.String(c.Node.Name)
	case "zone":
		return starlark.String(c.Node.Zone)
	case "arch":
		return starlark.String(c.Node.Arch)
	case "kind":
		return starlark.String(c.Node.Kind)
	case "instances":
		return starlark.MakeInt(c.Use.Instances)
	case "cpus":
		return starlark.MakeInt(c.Node.CPUs)
	case "memory_mib":
		return starlark.MakeInt(c.Node.MemoryMiB)
	case "disk_gib":
		return starlark.MakeInt64(c.Node.DiskGiB)
	case "free_cpus":
		return starlark.MakeInt(c.Free().CPUs)
	case "free_memory_mib":
		return starlark.MakeInt(c.Free().MemoryMiB)
	case "free_disk_gib":
		return starlark.MakeInt64(c.Free().DiskGiB)
	}
	return nil
}
