package policy

import (
	"fmt"

	"go.starlark.net/starlark"

	"eucad/store/cloud"
)

// A record is a value with attributes, made when they are asked for: a
// thousand nodes with all of theirs would cost more than the decision.
type record interface {
	starlark.HasAttrs
	Type() string
}

// fixed is what all records have in common.
type fixed struct{}

func (fixed) Freeze()              {} // nothing of it changes
func (fixed) Truth() starlark.Bool { return true }

func unhashable(r record) (uint32, error) { return 0, fmt.Errorf("unhashable type: %s", r.Type()) }

// A needValue is what a script sees of cloud.Need.
type needValue struct {
	fixed
	*cloud.Need
}

var _ record = needValue{}

func (n needValue) String() string        { return fmt.Sprintf("<need %s>", n.Need.Type) }
func (n needValue) Type() string          { return "need" }
func (n needValue) Hash() (uint32, error) { return unhashable(n) }
func (n needValue) AttrNames() []string {
	return []string{"type", "zone", "arch", "cpus", "memory_mib", "disk_gib", "last"}
}

// Attr returns an attribute, or nil when there is none of that name.
func (n needValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "type":
		return starlark.String(n.Need.Type), nil
	case "zone":
		return starlark.String(n.Zone), nil
	case "arch":
		return starlark.String(n.Arch), nil
	case "cpus":
		return starlark.MakeInt(n.CPUs), nil
	case "memory_mib":
		return starlark.MakeInt(n.MemoryMiB), nil
	case "disk_gib":
		return starlark.MakeInt64(n.DiskGiB), nil
	case "last":
		return starlark.String(n.Last), nil
	}
	return nil, nil
}

// A nodeValue is what a script sees of cloud.Candidate.
type nodeValue struct {
	fixed
	*cloud.Candidate
}

var _ record = &nodeValue{}

func (n *nodeValue) String() string        { return fmt.Sprintf("<node %s>", n.Node.Name) }
func (n *nodeValue) Type() string          { return "node" }
func (n *nodeValue) Hash() (uint32, error) { return unhashable(n) }
func (n *nodeValue) AttrNames() []string {
	return []string{"name", "zone", "arch", "kind", "instances", "cpus", "memory_mib", "disk_gib", "free_cpus", "free_memory_mib", "free_disk_gib"}
}

// Attr returns an attribute, or nil when there is none of that name.
func (n *nodeValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(n.Node.Name), nil
	case "zone":
		return starlark.String(n.Node.Zone), nil
	case "arch":
		return starlark.String(n.Node.Arch), nil
	case "kind":
		return starlark.String(n.Node.Kind), nil
	case "instances":
		return starlark.MakeInt(n.Use.Instances), nil
	case "cpus":
		return starlark.MakeInt(n.Node.CPUs), nil
	case "memory_mib":
		return starlark.MakeInt(n.Node.MemoryMiB), nil
	case "disk_gib":
		return starlark.MakeInt64(n.Node.DiskGiB), nil
	case "free_cpus":
		return starlark.MakeInt(n.Free().CPUs), nil
	case "free_memory_mib":
		return starlark.MakeInt(n.Free().MemoryMiB), nil
	case "free_disk_gib":
		return starlark.MakeInt64(n.Free().DiskGiB), nil
	}
	return nil, nil
}

// A roster is the tuple of nodes that a script sees. Its memory serves one
// decision after the other: scripts keep nothing.
type roster struct {
	nodes []nodeValue
	tuple starlark.Tuple
}

// of returns the tuple of these candidates, good until the next call.
func (r *roster) of(all []cloud.Candidate) starlark.Tuple {
	if len(all) > len(r.nodes) {
		r.nodes, r.tuple = make([]nodeValue, len(all)), make(starlark.Tuple, len(all))
		for i := range r.nodes {
			r.tuple[i] = &r.nodes[i]
		}
	}
	for i := range all {
		r.nodes[i].Candidate = &all[i]
	}
	return r.tuple[:len(all)]
}
