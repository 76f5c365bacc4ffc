package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// tableName is that of all our tables: one per family and namespace.
const tableName = "eucad"

// A Table keeps one table of the kernel as it is told. It is for one goroutine
// at a time.
type Table struct {
	conn  *nftables.Conn
	table *nftables.Table
	have  *Ruleset // nil when it isn't known
}

// Open returns the table of the family in the namespace with the descriptor
// nsfd. What the kernel holds of it is replaced as a whole by the first Apply,
// in one step: no packet sees a table that is not whole, and tracked
// connections go on.
func Open(nsfd int, family nftables.TableFamily) (*Table, error) {
	c, err := nftables.New(nftables.WithNetNSFd(nsfd), nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return &Table{conn: c, table: &nftables.Table{Name: tableName, Family: family}}, nil
}

// Close leaves the kernel's table as it is.
func (t *Table) Close() error { return t.conn.CloseLasting() }

// Delete removes the table from the kernel.
func (t *Table) Delete() error {
	t.have = nil
	t.conn.AddTable(t.table) // so that there is one to delete
	t.conn.DelTable(t.table)
	return t.flush()
}

// Apply makes the kernel's table want, in one step or not at all. want is kept
// and must not be changed. When somebody else removed the table, as "nft flush
// ruleset" does, or changed it, it is made anew.
func (t *Table) Apply(want *Ruleset) error {
	have := t.have
	t.have = nil // until it is known again
	b := batch{Table: t}
	if have != nil && t.there() {
		b.change(have, want)
		if t.flush() == nil {
			t.have = want
			return nil
		}
	}
	t.conn.AddTable(t.table) // so that there is one to delete
	t.conn.DelTable(t.table)
	t.conn.AddTable(t.table)
	b.change(&Ruleset{}, want)
	if err := t.flush(); err != nil {
		return err
	}
	t.have = want
	return nil
}

// there reports whether the kernel has the table.
func (t *Table) there() bool {
	_, err := t.conn.ListTableOfFamily(t.table.Name, t.table.Family)
	return err == nil
}

func (t *Table) flush() error {
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: change table %s: %w", tableName, err)
	}
	return nil
}

// A batch is filled with the messages that make one ruleset another, in an
// order in which nothing is used that isn't there, or removed while in use.
type batch struct {
	*Table
}

func (b batch) change(have, want *Ruleset) {
	sets := pair(have.Sets, want.Sets, func(s *Set) string { return s.Name })
	chains := pair(have.Chains, want.Chains, func(c *Chain) string { return c.Name })
	gone, fresh := make([][]Element, len(sets)), make([][]Element, len(sets))
	for i, p := range sets {
		switch {
		case p.have == nil:
			b.addSet(p.want)
			fresh[i] = p.want.Elements
		case p.want == nil: // its elements go with it
		case !p.have.equalShape(p.want):
			panic("nft: set " + p.want.Name + " changed its type") // compile gives no cause for it
		case same(p.have.Elements, p.want.Elements):
		default:
			gone[i], fresh[i] = diff(p.have.Elements, p.want.Elements)
		}
	}
	for _, p := range chains {
		switch {
		case p.have == nil:
			b.conn.AddChain(b.chain(p.want))
		case p.want == nil || !p.have.equalRules(p.want):
			b.conn.FlushChain(b.chain(p.have))
		}
	}
	for i, p := range sets {
		b.elements(p.have, gone[i], b.conn.SetDeleteElements)
	}
	for _, p := range chains {
		if p.want == nil {
			b.conn.DelChain(b.chain(p.have))
		}
	}
	for _, p := range sets {
		if p.want == nil {
			b.conn.DelSet(b.set(p.have))
		}
	}
	for _, p := range chains {
		if p.want == nil || p.have != nil && p.have.equalRules(p.want) {
			continue
		}
		for _, r := range p.want.Rules {
			b.conn.AddRule(&nftables.Rule{Table: b.table, Chain: b.chain(p.want), Exprs: r.exprs})
		}
	}
	for i, p := range sets {
		b.elements(p.want, fresh[i], b.conn.SetAddElements)
	}
}

func (b batch) chain(c *Chain) *nftables.Chain {
	out := &nftables.Chain{Name: c.Name, Table: b.table}
	if h := c.Hook; h != nil {
		policy := nftables.ChainPolicyAccept
		if h.Drop {
			policy = nftables.ChainPolicyDrop
		}
		out.Type, out.Hooknum, out.Priority, out.Policy = h.Type, h.Num, &h.Priority, &policy
	}
	return out
}

func (b batch) set(s *Set) *nftables.Set {
	out := &nftables.Set{Table: b.table, Name: s.Name, KeyType: s.Key, Interval: s.Ranges}
	if s.Key.Name == nftables.TypeIFName.Name || s.Key.Name == nftables.TypeMark.Name {
		out.KeyByteOrder = binaryutil.NativeEndian // so that nft(8) shows it right
	}
	out.Concatenation = len(nftables.ConcatSetTypeElements(s.Key)) > 1
	if s.Data != nil {
		out.IsMap, out.DataType = true, *s.Data
	}
	return out
}

func (b batch) addSet(s *Set) {
	// An error here would be one of encoding, and is returned by Flush.
	_ = b.conn.AddSet(b.set(s), nil)
}

// maxElements bounds the elements of one message: a netlink attribute has at
// most 64 KiB, and an element takes fewer than 128 bytes.
const maxElements = 400

func (b batch) elements(s *Set, all []Element, send func(*nftables.Set, []nftables.SetElement) error) {
	if len(all) == 0 {
		return
	}
	set := b.set(s)
	for part := range slices.Chunk(all, maxElements) {
		out := make([]nftables.SetElement, len(part))
		for i, e := range part {
			out[i].Key = []byte(e.Key)
			if s.Ranges {
				out[i].KeyEnd = []byte(e.End)
			}
			switch {
			case s.Data == nil:
			case s.Data.Name == verdictType.Name:
				out[i].VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.Data}
			default:
				out[i].Val = []byte(e.Data)
			}
		}
		_ = send(set, out) // as in addSet
	}
}

// A pairing is a thing as it is and as it shall be; one may be nil.
type pairing[T any] struct {
	have, want *T
}

// pair brings two lists together that are in order of name.
func pair[T any](have, want []T, name func(*T) string) []pairing[T] {
	out := make([]pairing[T], 0, max(len(have), len(want)))
	for len(have) > 0 || len(want) > 0 {
		order := 0
		switch {
		case len(want) == 0:
			order = -1
		case len(have) == 0:
			order = 1
		default:
			order = strings.Compare(name(&have[0]), name(&want[0]))
		}
		var p pairing[T]
		if order <= 0 {
			p.have, have = &have[0], have[1:]
		}
		if order >= 0 {
			p.want, want = &want[0], want[1:]
		}
		out = append(out, p)
	}
	return out
}

// same reports whether a and b are one list in memory.
func same(a, b []Element) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// diff returns the elements that are only in have and those only in want; both
// lists are in order of key. An entry whose End or Data changed is in both answers.
func diff(have, want []Element) (gone, fresh []Element) {
	for len(have) > 0 && len(want) > 0 {
		switch h, w := have[0], want[0]; {
		case h == w:
			have, want = have[1:], want[1:]
		case h.Key < w.Key:
			gone, have = append(gone, h), have[1:]
		case h.Key > w.Key:
			fresh, want = append(fresh, w), want[1:]
		default:
			gone, fresh = append(gone, h), append(fresh, w)
			have, want = have[1:], want[1:]
		}
	}
	return append(gone, have...), append(fresh, want...)
}

// Filters are the tables of one router.
type Filters struct {
	inet, arp *Table
	compiler  compiler
}

// OpenFilters returns the filters of the router in a namespace; see Open.
func OpenFilters(nsfd int) (*Filters, error) {
	inet, err := Open(nsfd, nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	arp, err := Open(nsfd, nftables.TableFamilyARP)
	if err != nil {
		return nil, errors.Join(err, inet.Close())
	}
	return &Filters{inet: inet, arp: arp}, nil
}

// Apply puts the filters of r in place. Applying the same r again does nothing.
func (f *Filters) Apply(r Router) error {
	return errors.Join(f.inet.Apply(f.compiler.compile(r)), f.arp.Apply(CompileARP(r)))
}

// Close leaves the filters in place.
func (f *Filters) Close() error { return errors.Join(f.inet.Close(), f.arp.Close()) }
