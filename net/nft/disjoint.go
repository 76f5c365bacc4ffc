package nft

import (
	"cmp"
	"slices"
	"sync"
)

// disjoint returns boxes that together cover what the given ones cover, none of
// which overlap: the kernel refuses ranges that do (nft_set_pipapo.c). Prefixes
// lie within each other or apart, so what a wider prefix covers already is cut
// out of the ranges of the narrower ones. The result is in order of address.
func disjoint(boxes []box) []box {
	sortBy(boxes, func(b box) uint64 {
		return uint64(b.plane)<<56 | uint64(b.addr)<<24 | uint64(b.bits)<<16 | uint64(b.lo)
	})
	out := make([]box, 0, len(boxes))
	var above []cover // of the wider prefixes that the next box lies in
	for len(boxes) > 0 {
		b, n := boxes[0], 1
		for n < len(boxes) && boxes[n].samePrefix(b) {
			n++
		}
		group := boxes[:n]
		boxes = boxes[n:]
		for len(above) > 0 && !above[len(above)-1].holds(b) {
			above = above[:len(above)-1]
		}
		if n == 1 && len(above) == 0 { // most are alone
			out = append(out, b)
			above = append(above, cover{box: b})
			continue
		}
		var wider spans
		if len(above) > 0 {
			wider = above[len(above)-1].spans()
		}
		fresh := merge(group).without(wider)
		for _, s := range fresh {
			out = append(out, box{b.plane, b.addr, b.bits, s.lo, s.hi})
		}
		above = append(above, cover{b, wider.with(fresh)})
	}
	sortBy(out, func(b box) uint64 { return uint64(b.addr)<<24 | uint64(b.plane)<<16 | uint64(b.lo) })
	return out
}

// A keyed is a box and the number it is sorted by.
type keyed struct {
	key uint64
	box box
}

// sortSpace has memory for sortBy: what a change of a large group leaves to the
// garbage collector would cost more than the change.
var sortSpace = sync.Pool{New: func() any { return new([2][]keyed) }}

// sortBy sorts boxes by a number, unless they are in order: byte by byte from
// the lowest, as comparing 10,000 of them would take longer than the kernel
// takes for a change.
func sortBy(boxes []box, key func(box) uint64) {
	if slices.IsSortedFunc(boxes, func(a, b box) int { return cmp.Compare(key(a), key(b)) }) {
		return
	}
	space := sortSpace.Get().(*[2][]keyed)
	defer sortSpace.Put(space)
	for i := range space {
		space[i] = slices.Grow(space[i][:0], len(boxes))[:len(boxes)]
	}
	from, to := space[0], space[1]
	for i, b := range boxes {
		from[i] = keyed{key(b), b}
	}
	for shift := 0; shift < 64; shift += 8 {
		var start [256]int
		for _, k := range from {
			start[byte(k.key>>shift)]++
		}
		if start[byte(from[0].key>>shift)] == len(from) {
			continue // all have the same byte here
		}
		at := 0
		for i, n := range start {
			start[i] = at
			at += n
		}
		for _, k := range from {
			i := &start[byte(k.key>>shift)]
			to[*i] = k
			*i++
		}
		from, to = to, from
	}
	for i, k := range from {
		boxes[i] = k.box
	}
}

func (x box) samePrefix(y box) bool {
	return x.plane == y.plane && x.addr == y.addr && x.bits == y.bits
}

// A cover is what is allowed for all addresses of a box's prefix.
type cover struct {
	box
	ranges spans
}

// spans returns the ranges; a cover without any is that of one box alone.
func (c cover) spans() spans {
	if c.ranges == nil {
		return spans{{c.lo, c.hi}}
	}
	return c.ranges
}

func (c cover) holds(b box) bool {
	return c.plane == b.plane && c.bits <= b.bits && b.addr&maskOf(int(c.bits)) == c.addr
}

type span struct{ lo, hi uint16 }

// spans are ranges in order that don't overlap.
type spans []span

// merge returns the ranges of boxes, which are in order of lo.
func merge(boxes []box) spans {
	var out spans
	for _, b := range boxes {
		if n := len(out); n > 0 && b.lo <= out[n-1].hi {
			out[n-1].hi = max(out[n-1].hi, b.hi)
			continue
		}
		out = append(out, span{b.lo, b.hi})
	}
	return out
}

// without returns what of r is not in holes.
func (r spans) without(holes spans) spans {
	if len(holes) == 0 {
		return r
	}
	var out spans
	for _, s := range r {
		for len(holes) > 0 && holes[0].hi < s.lo {
			holes = holes[1:]
		}
		lo := int(s.lo)
		for _, h := range holes {
			if h.lo > s.hi {
				break
			}
			if int(h.lo) > lo {
				out = append(out, span{uint16(lo), h.lo - 1})
			}
			lo = int(h.hi) + 1
		}
		if lo <= int(s.hi) {
			out = append(out, span{uint16(lo), s.hi})
		}
	}
	return out
}

// with returns r and more, which lie apart.
func (r spans) with(more spans) spans {
	switch {
	case len(more) == 0:
		return r
	case len(r) == 0:
		return more
	}
	out := slices.Concat(r, more)
	slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	return out
}
