package query

import (
	"slices"
	"strings"

	"eucad/store/cloud"
)

// A Node is a parameter, or the parameters below a dotted prefix:
// Filter.1.Name=x is the Node Filter, which holds the Node 1, which holds the
// Node Name of value x.
type Node struct {
	Name  string // the last part of the name
	Path  string // the whole name
	Value string

	has   bool // Value was given
	index int  // Name as a number, once a list was asked for
	kids  []Node
}

// newTree turns parameters into a tree. An empty value counts as not given
// (Packer sends SubnetId= and Ansible Description=), except where a client can
// mean the empty string: a tag's, a filter's or an attribute's Value, and the
// NoDevice of a block device mapping, whose being there is all that it says.
// An empty element of a list is given too: a script whose variable is empty must
// not be told of all instances when it asked for one.
// It returns the sorted parameters too.
func newTree(ps []param) (*Node, []param, error) {
	ps = slices.DeleteFunc(ps, func(p param) bool { return p.value == "" && !mayBeEmpty(p.name) })
	sortParams(ps)
	for i := 1; i < len(ps); i++ {
		if ps[i].name == ps[i-1].name {
			return nil, nil, cloud.Faultf("InvalidQueryParameter", "The parameter %s was given twice.", clip(ps[i].name))
		}
	}
	root := new(Node)
	root.grow(ps, 0)
	return root, ps, nil
}

func mayBeEmpty(name string) bool {
	if list := strings.TrimRight(name, "0123456789"); list != name && strings.HasSuffix(list, ".") {
		return true
	}
	return name == "Value" || strings.HasSuffix(name, ".Value") || strings.HasSuffix(name, ".NoDevice")
}

// grow makes the kids of n from sorted parameters, whose names all begin with
// the same off bytes.
func (n *Node) grow(ps []param, off int) {
	count := 0
	for rest := ps; len(rest) > 0; count++ {
		_, rest = group(rest, off)
	}
	n.kids = make([]Node, 0, count)
	for len(ps) > 0 {
		var same []param
		same, ps = group(ps, off)
		end := partEnd(same[0].name, off)
		kid := Node{Name: same[0].name[off:end], Path: same[0].name[:end]}
		if len(same[0].name) == end {
			kid.Value, kid.has = same[0].value, true
			same = same[1:]
		}
		if len(same) > 0 {
			kid.grow(same, end+1)
		}
		n.kids = append(n.kids, kid)
	}
}

// group splits off the leading parameters that share the name part at off.
func group(ps []param, off int) (same, rest []param) {
	end := partEnd(ps[0].name, off)
	prefix := ps[0].name[:end]
	n := 1
	for n < len(ps) && strings.HasPrefix(ps[n].name, prefix) && partEnd(ps[n].name, off) == end {
		n++
	}
	return ps[:n], ps[n:]
}

func partEnd(name string, off int) int {
	if i := strings.IndexByte(name[off:], '.'); i >= 0 {
		return off + i
	}
	return len(name)
}
