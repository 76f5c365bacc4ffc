package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A compiled group is what became of a group when it was last seen.
type compiled struct {
	from   Group
	sets   []Set
	chains []Chain

	shards, before map[string]shard // by name of the set; before: when the group was last seen
}

// A shard is a set and what it was made from.
type shard struct {
	boxes []box
	set   Set
}

// addGroups adds the sets and chains of the groups. Groups that no rule knows
// as peer need no set of members.
func (c *compiler) addGroups(out *Ruleset, groups []Group) {
	known := make(map[string]*compiled, len(groups))
	peers := map[string]bool{}
	for _, g := range groups {
		k := c.groups[g.ID]
		if k == nil || !k.from.equalRules(g) {
			k = compileGroup(g, k)
		}
		known[g.ID] = k
		out.Sets = append(out.Sets, k.sets...)
		out.Chains = append(out.Chains, k.chains...)
		for _, rules := range [][]Rules{g.Ingress, g.Egress} {
			for _, r := range rules {
				for _, p := range r.Groups {
					peers[p] = true
				}
			}
		}
	}
	c.groups = known
	members := make(map[string][]netip.Addr, len(groups))
	for _, g := range groups {
		members[g.ID] = g.Members
	}
	for id := range peers {
		out.Sets = append(out.Sets, memberSet(id, members[id]))
	}
}

func (g *Group) equalRules(h Group) bool {
	equal := func(a, b Rules) bool {
		return a.Protocol == b.Protocol && a.From == b.From && a.To == b.To && slices.Equal(a.Prefixes, b.Prefixes) && slices.Equal(a.Groups, b.Groups)
	}
	return slices.EqualFunc(g.Ingress, h.Ingress, equal) && slices.EqualFunc(g.Egress, h.Egress, equal)
}

func memberSet(id string, members []netip.Addr) Set {
	s := Set{Name: id + ".members", Key: nftables.TypeIPAddr}
	for _, a := range members {
		if a.Is4() {
			s.Elements = append(s.Elements, Element{Key: string(a.AsSlice())})
		}
	}
	return s
}

// compileGroup takes over what has not changed since before, which may be nil.
func compileGroup(g Group, before *compiled) *compiled {
	k := &compiled{from: g, shards: map[string]shard{}}
	if before != nil {
		k.before = before.shards
	}
	k.direction(g.ID+".ingress", ipSrc, g.Ingress)
	k.direction(g.ID+".egress", ipDst, g.Egress)
	k.before = nil
	return k
}

// direction makes a chain that accepts what the rules allow, and a chain of the
// same kind for each peer group: its rules hold for all addresses, once the
// address is known to be a member's. A member that comes or goes is then one
// element, however many rules name its group.
func (k *compiled) direction(name string, peer field, all []Rules) {
	chain := k.filter(name, peer, all)
	byPeer := map[string][]Rules{}
	for _, r := range all {
		for _, g := range r.Groups {
			r.Prefixes = []netip.Prefix{everywhere}
			byPeer[g] = append(byPeer[g], r)
		}
	}
	for _, g := range sortedKeys(byPeer) {
		sub := name + "." + g
		chain.Rules = append(chain.Rules, rule(v4, in(g+".members", peer), jump(sub)))
		k.chains = append(k.chains, k.filter(sub, peer, byPeer[g]))
	}
	k.chains = append(k.chains, chain)
}

var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// filter makes a chain on two kinds of sets: of protocols as a whole, and of
// protocols with ports (of ICMP: with types and codes).
func (k *compiled) filter(name string, peer field, all []Rules) Chain {
	whole, ports := split(all)
	c := Chain{Name: name}
	for _, s := range k.rangeSets(Set{Name: name + ".all", Key: typeAll}, disjoint(whole), wholeElements) {
		c.Rules = append(c.Rules, rule(v4, in(s.Name, peer, l4proto), accept))
	}
	sets := k.rangeSets(Set{Name: name + ".ports", Key: typeService}, disjoint(ports), portElements)
	for _, s := range sets {
		c.Rules = append(c.Rules, rule(v4, in(setPorted, l4proto), in(s.Name, peer, l4proto, dport), accept))
	}
	for _, s := range sets {
		c.Rules = append(c.Rules, rule(v4, protocol(unix.IPPROTO_ICMP), in(s.Name, peer, l4proto, icmpKind), accept))
	}
	return c
}

// maxShard is how many elements a set of ranges has before it becomes several:
// the kernel copies the set for each change (nft_set_pipapo.c), which at 200
// elements takes 0.2 ms and at 10,000 more than 10 ms. What several sets cost is
// paid by the first packet of a connection only.
const maxShard = 256

// rangeSets adds the sets of ranges that boxes become, and returns them. Those
// whose boxes are as before are the same as before, with the same elements in
// memory: a change of one rule of 10,000 costs little more than finding it.
func (k *compiled) rangeSets(like Set, boxes []box, elements func([]box) []Element) []Set {
	like.Ranges = true
	parts := cut(boxes)
	out := make([]Set, len(parts))
	for i, part := range parts {
		s := like
		if len(parts) > 1 {
			s.Name += "." + strconv.Itoa(i) + "-" + strconv.Itoa(len(parts))
		}
		if was, ok := k.before[s.Name]; ok && slices.Equal(was.boxes, part) {
			s, part = was.set, was.boxes
		} else {
			s.Elements = elements(part)
		}
		k.shards[s.Name] = shard{part, s}
		out[i] = s
	}
	k.sets = append(k.sets, out...)
	return out
}

// cut cuts boxes into as many parts as they need, each in the order of the
// whole. Which part a box is in depends on itself, so that few move when others
// come and go.
func cut(boxes []box) [][]box {
	if len(boxes) <= maxShard {
		return [][]box{boxes}
	}
	n := uint32(2)
	for int(n)*maxShard*3/4 < len(boxes) {
		n *= 2
	}
	out := make([][]box, n)
	for i := range out {
		out[i] = make([]box, 0, len(boxes)*5/4/int(n))
	}
	for _, b := range boxes {
		h := uint64(b.addr)<<24 | uint64(b.plane)<<16 | uint64(b.lo)
		h *= 0x9e3779b97f4a7c15 // Fibonacci hashing: the upper bits depend on all
		i := uint32(h>>32) % n
		out[i] = append(out[i], b)
	}
	return out
}

// A box is a part of the space of peers and ports: a prefix and a range, in a
// plane of its own. In the planes of the protocols with ports (and ICMP) the range is of ports; in plane
// 0 it is of protocols.
type box struct {
	plane  byte
	addr   uint32
	bits   uint8
	lo, hi uint16
}

func split(all []Rules) (whole, ports []box) {
	for _, r := range all {
		if r.Protocol == unix.IPPROTO_ICMP || hasPorts(r.Protocol) {
			ports = slices.Grow(ports, len(r.Prefixes))
		} else {
			whole = slices.Grow(whole, len(r.Prefixes))
		}
		for _, p := range r.Prefixes {
			if !p.Addr().Is4() {
				continue // the fabric carries IPv4
			}
			a := p.Masked().Addr().As4()
			b := box{addr: binary.BigEndian.Uint32(a[:]), bits: uint8(p.Bits())}
			switch {
			case r.Protocol < 0:
				b.hi = 255
				whole = append(whole, b)
			case r.Protocol == unix.IPPROTO_ICMP:
				b.plane = unix.IPPROTO_ICMP
				b.lo, b.hi = icmpRange(r.From, r.To)
				ports = append(ports, b)
			case hasPorts(r.Protocol):
				b.plane = byte(r.Protocol)
				b.lo, b.hi = portRange(r.From, r.To)
				if b.lo <= b.hi {
					ports = append(ports, b)
				}
			default:
				b.lo, b.hi = uint16(r.Protocol), uint16(r.Protocol)
				whole = append(whole, b)
			}
		}
	}
	return whole, ports
}

func portRange(from, to int) (uint16, uint16) {
	if from < 0 {
		return 0, 65535
	}
	return uint16(from), uint16(min(to, 65535))
}

// icmpRange returns the range of type and code in one number, as they follow
// each other in a packet.
func icmpRange(kind, code int) (uint16, uint16) {
	switch {
	case kind < 0:
		return 0, 65535
	case code < 0:
		return uint16(kind) << 8, uint16(kind)<<8 | 255
	}
	k := uint16(kind)<<8 | uint16(code&255)
	return k, k
}

func wholeElements(boxes []box) []Element {
	b := newBuffer(len(boxes), 8)
	for _, x := range boxes {
		b.add(x.addr, byte(x.lo))
		b.add(x.last(), byte(x.hi))
	}
	return b.elements()
}

func portElements(boxes []box) []Element {
	b := newBuffer(len(boxes), 12)
	for _, x := range boxes {
		b.add(x.addr, x.plane)
		b.port(x.lo)
		b.add(x.last(), x.plane)
		b.port(x.hi)
	}
	return b.elements()
}

func (x box) last() uint32 { return x.addr | ^maskOf(int(x.bits)) }

// A buffer makes keys of one size that share memory: a group may have many.
type buffer struct {
	b    strings.Builder
	size int
}

func newBuffer(n, size int) *buffer {
	b := &buffer{size: size}
	b.b.Grow(2 * n * size)
	return b
}

func (b *buffer) add(addr uint32, proto byte) {
	b.b.Write([]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr), proto, 0, 0, 0})
}

func (b *buffer) port(p uint16) { b.b.Write([]byte{byte(p >> 8), byte(p), 0, 0}) }

func (b *buffer) elements() []Element {
	all := b.b.String()
	out := make([]Element, 0, len(all)/(2*b.size))
	for ; all != ""; all = all[2*b.size:] {
		out = append(out, Element{Key: all[:b.size], End: all[b.size : 2*b.size]})
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}
