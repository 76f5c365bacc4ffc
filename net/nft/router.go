// Package nft compiles packet filters of routers to nftables, and changes them
// in atomic batches whose cost follows the change.
//
// One table filters a router. What guests own, how they may be reached and what
// security groups allow are elements of sets, so that a change of them leaves
// the rules alone. A packet from a guest passes the chains
//
//	raw      is it who it says it is (per port: MAC and addresses)
//	egress   may its groups send this
//	ingress  may the groups of the port it goes to receive this
//
// and each of the latter two lets established traffic through and drops what
// nothing accepts, also between members of one group. Between guests of two
// hosts, the sender's host asks egress and the receiver's ingress: the tunnel
// that joins them is trusted on both.
package nft

import (
	"encoding/binary"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A Router is all that a table's filters depend on.
type Router struct {
	Uplink   string       // device towards the host
	Address  netip.Addr   // source of packets that leave without a public address
	Transit  netip.Prefix // the links between host and routers, which are not for guests
	Services []Service    // of ours, in the router
	Ports    []Port
	Groups   []Group

	Tunnel  string                    // device towards other hosts; "" for none
	Relay   bool                      // other hosts reach each other through the router
	Gateway bool                      // other hosts' guests reach the uplink through it, and the uplink them
	Public  map[netip.Addr]netip.Addr // of guests of other hosts: private address by public address
	Behind  netip.Addr                // source that a Gateway gives what could not be answered otherwise
}

// A Service is an address and port that guests may reach in the router.
type Service struct {
	Addr  netip.Addr
	Proto byte // unix.IPPROTO_TCP, unix.IPPROTO_UDP
	Port  uint16
}

// A Port is a device with a guest behind it.
type Port struct {
	Device    string
	MAC       net.HardwareAddr
	Addrs     []netip.Addr              // that it may send from
	AnySource bool                      // it may send from others too
	Public    map[netip.Addr]netip.Addr // private address by public address
	Groups    []string
}

// A Group is a security group.
type Group struct {
	ID      string
	Members []netip.Addr // of all members, wherever they are
	Ingress []Rules
	Egress  []Rules
}

// Rules allow traffic of one kind with some peers.
type Rules struct {
	Protocol int // IP protocol number; -1 for all
	From, To int // ports, inclusive; for ICMP type and code; -1 for any
	Prefixes []netip.Prefix
	Groups   []string // members of these groups are peers too
}

const (
	setOwners   = "owners"   // who may send as whom: device, MAC, address
	setAny      = "anyone"   // who may send as anybody: device, MAC
	setPublic   = "public"   // private address by public address
	setPrivate  = "private"  // public address by private address
	setServices = "services" // what guests may reach in the router
	setPorted   = "ported"   // protocols that have ports where TCP has them
	setOut      = "out"      // groups of the device that a packet came from, as a mark
	setIn       = "in"       // groups of the device that a packet goes to, as a mark
	setEgress   = "egress"   // chain by mark
	setIngress  = "ingress"  // chain by mark
)

var (
	typeOwner   = nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr)
	typeDevice  = nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr)
	typeService = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	typeAll     = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto)
)

// Compile returns the table of r. It is a pure function.
func Compile(r Router) *Ruleset { return new(compiler).compile(r) }

// A compiler remembers what it made of groups: compiling again costs what changed.
type compiler struct {
	groups map[string]*compiled
}

func (c *compiler) compile(r Router) *Ruleset {
	out := &Ruleset{Family: nftables.TableFamilyINet}
	out.Sets = append(out.Sets, owners(r), anyone(r), services(r), ported)
	out.Sets = append(out.Sets, addressMaps(r)...)
	out.Chains = append(out.Chains, baseChains(r)...)
	combine(out, r)
	c.addGroups(out, r.Groups)
	out.sort()
	return out
}

// linkLocal never leaves a link (RFC 3927, section 7): beyond the host there may
// be a metadata service that tells the host's own secrets.
var linkLocal = netip.MustParsePrefix("169.254.0.0/16")

func baseChains(r Router) []Chain {
	return []Chain{
		{Name: "raw", Hook: &Hook{nftables.ChainTypeFilter, nftables.ChainHookPrerouting, -300, true}, Rules: slices.Concat(
			[]Rule{rule(from("lo"), accept), rule(from(r.Uplink), accept)},
			r.tunnelled(rule(from(r.Tunnel), accept)),
			[]Rule{
				rule(v4, in(setOwners, iifname, etherSrc, ipSrc), accept),
				rule(v4, in(setAny, iifname, etherSrc), accept),
			},
		)},
		{Name: "input", Hook: &Hook{nftables.ChainTypeFilter, nftables.ChainHookInput, 0, true}, Rules: []Rule{
			rule(from("lo"), accept),
			rule(from(r.Uplink), drop),
			rule(v4, notIn(setOwners, iifname, etherSrc, ipSrc), drop),
			rule(v4, in(setServices, ipDst, l4proto, dport), accept),
		}},
		{Name: "egress", Hook: &Hook{nftables.ChainTypeFilter, nftables.ChainHookForward, -10, true}, Rules: slices.Concat(
			relay(r),
			[]Rule{
				rule(established, accept),
				rule(invalid, drop),
				rule(from(r.Uplink), accept),
			},
			r.tunnelled(rule(from(r.Tunnel), accept)),
			[]Rule{
				rule(clearMark),
				rule(setMark(setOut, iifname)),
				rule(follow(setEgress, metaMark)),
			},
		)},
		{Name: "ingress", Hook: &Hook{nftables.ChainTypeFilter, nftables.ChainHookForward, 0, true}, Rules: slices.Concat(
			relay(r),
			[]Rule{
				rule(established, accept),
				rule(v4, to(r.Uplink), within(ipDst, r.Transit), drop),
				rule(v4, to(r.Uplink), within(ipDst, linkLocal), drop),
			},
			fromTunnel(r),
			[]Rule{
				rule(v4, to(r.Uplink), notFrom(r.Uplink), accept),
				rule(from(r.Uplink), notTranslated, drop),
			},
			r.tunnelled(rule(to(r.Tunnel), accept)),
			[]Rule{
				rule(clearMark),
				rule(setMark(setIn, oifname)),
				rule(follow(setIngress, metaMark)),
			},
		)},
		{Name: "dstnat", Hook: &Hook{nftables.ChainTypeNAT, nftables.ChainHookPrerouting, -100, false}, Rules: []Rule{
			rule(v4, from(r.Uplink), dnat(setPublic)),
			// Guests reach each other's public addresses by way of the host, so that
			// they see public sources. Who has none can't: answers to the router's
			// own address would not come back through it.
			rule(v4, hasEntry(setPrivate, ipSrc), accept),
			rule(v4, dnat(setPublic)),
		}},
		{Name: "srcnat", Hook: &Hook{nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100, false}, Rules: slices.Concat(
			[]Rule{
				rule(v4, to(r.Uplink), snat(setPrivate)),
				rule(v4, to(r.Uplink), snatTo(r.Address)),
			},
			behind(r),
		)},
	}
}

// tunnelled returns the rules when there is a tunnel.
func (r *Router) tunnelled(rules ...Rule) []Rule {
	if r.Tunnel == "" {
		return nil
	}
	return rules
}

// relay lets other hosts reach each other. They have judged it, or will; we
// may see one direction only, while a guest moves, and so don't ask for state.
func relay(r Router) []Rule {
	if r.Tunnel == "" || !r.Relay {
		return nil
	}
	return []Rule{rule(from(r.Tunnel), to(r.Tunnel), accept)}
}

// fromTunnel drops what must not go into the tunnel, or from it to anywhere
// but to guests.
func fromTunnel(r Router) []Rule {
	if r.Tunnel == "" {
		return nil
	}
	out := []Rule{
		rule(v4, to(r.Tunnel), within(ipDst, r.Transit), drop),
		rule(v4, to(r.Tunnel), within(ipDst, linkLocal), drop),
	}
	if r.Gateway {
		out = append(out, rule(from(r.Tunnel), to(r.Tunnel), notTranslated, drop))
	} else {
		out = append(out, rule(from(r.Tunnel), to(r.Tunnel), drop), rule(from(r.Tunnel), to(r.Uplink), drop))
	}
	return out
}

// behind sees that answers come back through a gateway which translated the
// destination: not directly to a guest that sent it to a public address, and
// not to a link of the gateway's host, whose address may be that of a link of
// the answering guest's host too.
func behind(r Router) []Rule {
	if r.Tunnel == "" || !r.Gateway {
		return nil
	}
	return []Rule{
		rule(v4, to(r.Tunnel), from(r.Tunnel), translated, snatTo(r.Behind)),
		rule(v4, to(r.Tunnel), within(ipSrc, r.Transit), translated, snatTo(r.Behind)),
	}
}

// CompileARP returns the table that keeps guests from filling the router's
// neighbour table, which all namespaces of the kernel share.
func CompileARP(r Router) *Ruleset {
	s := owners(r)
	for _, p := range r.Ports { // a probe (RFC 5227) has no sender yet
		s.Elements = append(s.Elements, Element{Key: ownerKey(p, netip.IPv4Unspecified())})
	}
	out := &Ruleset{Family: nftables.TableFamilyARP, Sets: []Set{s, anyone(r)}, Chains: []Chain{
		{Name: "input", Hook: &Hook{nftables.ChainTypeFilter, nftables.ChainHookPrerouting, 0, true}, Rules: []Rule{
			rule(from(r.Uplink), accept),
			rule(in(setOwners, iifname, arpEther, arpIP), accept),
			rule(in(setAny, iifname, arpEther), atMost(20), accept),
		}},
	}}
	out.sort()
	return out
}

func owners(r Router) Set {
	s := Set{Name: setOwners, Key: typeOwner}
	for _, p := range r.Ports {
		for _, a := range p.Addrs {
			s.Elements = append(s.Elements, Element{Key: ownerKey(p, a)})
		}
	}
	return s
}

func ownerKey(p Port, a netip.Addr) string {
	return pad(p.Device, unix.IFNAMSIZ) + pad(string(p.MAC), 8) + string(a.AsSlice())
}

func anyone(r Router) Set {
	s := Set{Name: setAny, Key: typeDevice}
	for _, p := range r.Ports {
		if p.AnySource {
			s.Elements = append(s.Elements, Element{Key: pad(p.Device, unix.IFNAMSIZ) + pad(string(p.MAC), 8)})
		}
	}
	return s
}

func services(r Router) Set {
	s := Set{Name: setServices, Key: typeService}
	for _, v := range r.Services {
		s.Elements = append(s.Elements, Element{Key: serviceKey(binary.BigEndian.Uint32(v.Addr.AsSlice()), v.Proto, v.Port)})
	}
	return s
}

func serviceKey(addr uint32, proto byte, port uint16) string {
	k := binary.BigEndian.AppendUint32(make([]byte, 0, 12), addr)
	k = append(k, proto, 0, 0, 0)
	return string(append(binary.BigEndian.AppendUint16(k, port), 0, 0))
}

var ported = Set{Name: setPorted, Key: nftables.TypeInetProto, Elements: []Element{
	{Key: string([]byte{unix.IPPROTO_TCP})}, {Key: string([]byte{unix.IPPROTO_UDP})}, {Key: string([]byte{unix.IPPROTO_DCCP})},
	{Key: string([]byte{unix.IPPROTO_SCTP})}, {Key: string([]byte{unix.IPPROTO_UDPLITE})},
}}

func hasPorts(proto int) bool {
	return slices.ContainsFunc(ported.Elements, func(e Element) bool { return int(e.Key[0]) == proto })
}

func addressMaps(r Router) []Set {
	addr := nftables.TypeIPAddr
	public, private := Set{Name: setPublic, Key: addr, Data: &addr}, Set{Name: setPrivate, Key: addr, Data: &addr}
	add := func(all map[netip.Addr]netip.Addr) {
		for pub, priv := range all {
			a, b := string(pub.AsSlice()), string(priv.AsSlice())
			public.Elements = append(public.Elements, Element{Key: a, Data: b})
			private.Elements = append(private.Elements, Element{Key: b, Data: a})
		}
	}
	for _, p := range r.Ports {
		add(p.Public)
	}
	add(r.Public)
	return []Set{public, private}
}

// combine gives each combination of groups that a port has a mark and a pair
// of chains: a port then costs two elements, and needs no rule of its own.
func combine(out *Ruleset, r Router) {
	known := map[string]bool{}
	for _, g := range r.Groups {
		known[g.ID] = true
	}
	ifn, mark := nftables.TypeIFName, nftables.TypeMark
	byOut, byIn := Set{Name: setOut, Key: ifn, Data: &mark}, Set{Name: setIn, Key: ifn, Data: &mark}
	egress, ingress := Set{Name: setEgress, Key: mark, Data: &verdictType}, Set{Name: setIngress, Key: mark, Data: &verdictType}
	marks := marksOf(r.Ports)
	done := map[uint32]bool{}
	for _, p := range r.Ports {
		names := combination(p)
		m := marks[strings.Join(names, " ")]
		key, data := pad(p.Device, unix.IFNAMSIZ), string(binary.NativeEndian.AppendUint32(nil, m))
		byOut.Elements = append(byOut.Elements, Element{Key: key, Data: data})
		byIn.Elements = append(byIn.Elements, Element{Key: key, Data: data})
		if done[m] {
			continue
		}
		done[m] = true
		text := markText(m)
		eg, ing := Chain{Name: "egress-" + text}, Chain{Name: "ingress-" + text}
		for _, g := range names {
			if !known[g] {
				continue // allows nothing
			}
			eg.Rules = append(eg.Rules, rule(jump(g+".egress")))
			ing.Rules = append(ing.Rules, rule(jump(g+".ingress")))
		}
		out.Chains = append(out.Chains, eg, ing)
		egress.Elements = append(egress.Elements, Element{Key: data, Data: eg.Name})
		ingress.Elements = append(ingress.Elements, Element{Key: data, Data: ing.Name})
	}
	out.Sets = append(out.Sets, byOut, byIn, egress, ingress)
}

func combination(p Port) []string {
	return slices.Compact(slices.Sorted(slices.Values(p.Groups)))
}

// marksOf numbers the combinations of groups: by hash, so that a number stays
// when others come and go, and never 0, which is no mark.
func marksOf(ports []Port) map[string]uint32 {
	all := map[string]uint32{}
	for _, p := range ports {
		all[strings.Join(combination(p), " ")] = 0
	}
	names := make([]string, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	slices.Sort(names)
	taken := map[uint32]bool{0: true}
	for _, n := range names {
		h := fnv.New32a()
		h.Write([]byte(n))
		m := h.Sum32()
		for taken[m] {
			m++
		}
		taken[m] = true
		all[n] = m
	}
	return all
}

func markText(m uint32) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 8)
	for i := range b {
		b[i] = digits[m>>(28-4*i)&15]
	}
	return string(b)
}

// pad fills s with zeros to n bytes.
func pad(s string, n int) string {
	if len(s) >= n {
		return s[:n]
	}
	return s + strings.Repeat("\x00", n-len(s))
}
