package nft

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A Ruleset is what one table holds, in an order that depends on nothing but
// its meaning.
type Ruleset struct {
	Family nftables.TableFamily
	Sets   []Set   // by name
	Chains []Chain // by name
}

// A Set is a set or, when Data is not nil, a map.
type Set struct {
	Name     string
	Key      nftables.SetDatatype
	Data     *nftables.SetDatatype
	Ranges   bool      // elements have an End
	Elements []Element // by key
}

// An Element is one entry of a set. Its strings hold bytes as the kernel wants them.
type Element struct {
	Key  string
	End  string // last key of a range; "" in sets without ranges
	Data string // of a map; in a verdict map, the chain to go to
}

// A Chain is a list of rules; one with a Hook sees packets by itself.
type Chain struct {
	Name  string
	Hook  *Hook
	Rules []Rule
}

// A Hook is where a base chain sees packets.
type Hook struct {
	Type     nftables.ChainType
	Num      *nftables.ChainHook
	Priority nftables.ChainPriority
	Drop     bool // what nothing decides on is dropped
}

// A Rule is what nft(8) would read and what the kernel gets.
type Rule struct {
	Text  string
	exprs []expr.Any
}

func (s *Set) equalShape(t *Set) bool {
	return s.Key.Name == t.Key.Name && s.Ranges == t.Ranges && (s.Data == nil) == (t.Data == nil) && (s.Data == nil || s.Data.Name == t.Data.Name)
}

func (c *Chain) equalRules(d *Chain) bool {
	return slices.EqualFunc(c.Rules, d.Rules, func(a, b Rule) bool { return a.Text == b.Text })
}

// sort brings the ruleset into its order.
func (r *Ruleset) sort() {
	slices.SortFunc(r.Sets, func(a, b Set) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Chains, func(a, b Chain) int { return strings.Compare(a.Name, b.Name) })
	for i := range r.Sets {
		r.Sets[i].sort()
	}
}

func (s *Set) sort() {
	if s.Ranges {
		return // in order already, and shared with other rulesets; see disjoint
	}
	byKey := func(a, b Element) int { return cmp.Compare(a.Key, b.Key) }
	if !slices.IsSortedFunc(s.Elements, byKey) {
		slices.SortFunc(s.Elements, byKey)
	}
	s.Elements = slices.CompactFunc(s.Elements, func(a, b Element) bool { return a.Key == b.Key })
}

// String returns the ruleset in the manner of nft list.
func (r *Ruleset) String() string {
	var b strings.Builder
	for i := range r.Sets {
		s := &r.Sets[i]
		kind, flags := "set", ""
		if s.Data != nil {
			kind = "map"
		}
		fmt.Fprintf(&b, "%s %s {\n\ttype %s", kind, s.Name, s.Key.Name)
		if s.Data != nil {
			fmt.Fprintf(&b, " : %s", s.Data.Name)
		}
		if s.Ranges {
			flags = "\tflags interval\n"
		}
		fmt.Fprintf(&b, "\n%s", flags)
		for _, e := range s.Elements {
			fmt.Fprintf(&b, "\t%s\n", s.text(e))
		}
		b.WriteString("}\n")
	}
	for _, c := range r.Chains {
		fmt.Fprintf(&b, "chain %s {\n", c.Name)
		if h := c.Hook; h != nil {
			policy := "accept"
			if h.Drop {
				policy = "drop"
			}
			fmt.Fprintf(&b, "\ttype %s hook %s priority %d; policy %s\n", h.Type, r.hook(h), h.Priority, policy)
		}
		for _, rule := range c.Rules {
			fmt.Fprintf(&b, "\t%s\n", rule.Text)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func (r *Ruleset) hook(h *Hook) string {
	if r.Family == nftables.TableFamilyARP {
		return "input" // NF_ARP_IN, the only one we use
	}
	return hookNames[*h.Num]
}

var hookNames = map[nftables.ChainHook]string{
	*nftables.ChainHookPrerouting:  "prerouting",
	*nftables.ChainHookInput:       "input",
	*nftables.ChainHookForward:     "forward",
	*nftables.ChainHookOutput:      "output",
	*nftables.ChainHookPostrouting: "postrouting",
}
