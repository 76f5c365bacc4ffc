package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A part is a piece of a rule: its text and what the kernel gets for it.
type part struct {
	text  string
	exprs []expr.Any
}

// rule joins parts to a Rule.
func rule(parts ...part) Rule {
	var texts []string
	var r Rule
	for _, p := range parts {
		if p.text != "" {
			texts = append(texts, p.text)
		}
		r.exprs = append(r.exprs, p.exprs...)
	}
	r.Text = strings.Join(texts, " ")
	return r
}

// reg is the first of the registers of four bytes that keys are put together in
// (NFT_REG32_00 in linux/netfilter/nf_tables.h).
const reg = 8

// A field is a value of a packet that a key may hold.
type field struct {
	text  string
	words uint32 // registers it takes
	load  func(register uint32) expr.Any
}

func meta(text string, key expr.MetaKey, words uint32) field {
	return field{text, words, func(r uint32) expr.Any { return &expr.Meta{Key: key, Register: r} }}
}

func payload(text string, base expr.PayloadBase, offset, size uint32) field {
	return field{text, (size + 3) / 4, func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: base, Offset: offset, Len: size}
	}}
}

var (
	iifname  = meta("iifname", expr.MetaKeyIIFNAME, 4)
	oifname  = meta("oifname", expr.MetaKeyOIFNAME, 4)
	l4proto  = meta("meta l4proto", expr.MetaKeyL4PROTO, 1)
	nfproto  = meta("meta nfproto", expr.MetaKeyNFPROTO, 1)
	metaMark = meta("meta mark", expr.MetaKeyMARK, 1)

	etherSrc = payload("ether saddr", expr.PayloadBaseLLHeader, 6, 6)
	ipSrc    = payload("ip saddr", expr.PayloadBaseNetworkHeader, 12, 4)
	ipDst    = payload("ip daddr", expr.PayloadBaseNetworkHeader, 16, 4)
	dport    = payload("th dport", expr.PayloadBaseTransportHeader, 2, 2)
	icmpKind = payload("@th,0,16", expr.PayloadBaseTransportHeader, 0, 2) // ICMP type and code

	arpEther = payload("arp saddr ether", expr.PayloadBaseNetworkHeader, 8, 6)
	arpIP    = payload("arp saddr ip", expr.PayloadBaseNetworkHeader, 14, 4)
)

// load puts fields side by side into registers.
func load(fields ...field) part {
	var p part
	var texts []string
	at := uint32(reg)
	for _, f := range fields {
		texts = append(texts, f.text)
		p.exprs = append(p.exprs, f.load(at))
		at += f.words
	}
	p.text = strings.Join(texts, " . ")
	return p
}

// in matches when the fields together are in the set.
func in(set string, fields ...field) part {
	p := load(fields...)
	p.text += " @" + set
	p.exprs = append(p.exprs, &expr.Lookup{SourceRegister: reg, SetName: set})
	return p
}

// notIn matches when the fields together are not in the set.
func notIn(set string, fields ...field) part {
	p := load(fields...)
	p.text += " != @" + set
	p.exprs = append(p.exprs, &expr.Lookup{SourceRegister: reg, SetName: set, Invert: true})
	return p
}

// follow goes where the verdict map says.
func follow(set string, f field) part {
	p := load(f)
	p.text += " vmap @" + set
	p.exprs = append(p.exprs, &expr.Lookup{SourceRegister: reg, SetName: set, IsDestRegSet: true})
	return p
}

// mapped leaves in the first register what the map has for the field; without
// an entry the rule does not match.
func mapped(set string, f field) []expr.Any {
	return append(load(f).exprs, &expr.Lookup{SourceRegister: reg, SetName: set, DestRegister: reg, IsDestRegSet: true})
}

// hasEntry matches when the map has an entry for the field.
func hasEntry(set string, f field) part { return part{f.text + " map @" + set, mapped(set, f)} }

// is matches a field with a value.
func is(f field, op expr.CmpOp, value []byte, text string) part {
	p := load(f)
	if op == expr.CmpOpNeq {
		p.text += " !="
	}
	p.text += " " + text
	p.exprs = append(p.exprs, &expr.Cmp{Op: op, Register: reg, Data: value})
	return p
}

func ifname(f field, op expr.CmpOp, name string) part {
	text := fmt.Sprintf("%q", name)
	if base, ok := strings.CutSuffix(name, "*"); ok {
		return is(f, op, []byte(base), text) // a prefix, as nft(8) has it
	}
	return is(f, op, []byte(pad(name, unix.IFNAMSIZ)), text)
}

func from(dev string) part    { return ifname(iifname, expr.CmpOpEq, dev) }
func notFrom(dev string) part { return ifname(iifname, expr.CmpOpNeq, dev) }
func to(dev string) part      { return ifname(oifname, expr.CmpOpEq, dev) }
func notTo(dev string) part   { return ifname(oifname, expr.CmpOpNeq, dev) }

func protocol(n byte) part { return is(l4proto, expr.CmpOpEq, []byte{n}, fmt.Sprint(n)) }

// v4 makes sure that what follows reads an IPv4 header; nft(8) doesn't show it.
var v4 = part{"", is(nfproto, expr.CmpOpEq, []byte{unix.NFPROTO_IPV4}, "").exprs}

// within matches an address field with a prefix.
func within(f field, p netip.Prefix) part {
	a, mask := p.Masked().Addr().As4(), binaryutil.BigEndian.PutUint32(maskOf(p.Bits()))
	out := load(f)
	out.text += " " + p.Masked().String()
	out.exprs = append(out.exprs,
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: a[:]})
	return out
}

func maskOf(bits int) uint32 { return ^uint32(0) << (32 - bits) } // a shift by 32 gives 0

// ct matches when any of the bits of a conntrack value is set, or, when not,
// none is.
func ct(key expr.CtKey, bits uint32, op expr.CmpOp, text string) part {
	mask := binary.NativeEndian.AppendUint32(nil, bits)
	return part{text, []expr.Any{
		&expr.Ct{Key: key, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: reg, Data: make([]byte, 4)},
	}}
}

var (
	established   = ct(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, expr.CmpOpNeq, "ct state established,related")
	invalid       = ct(expr.CtKeySTATE, expr.CtStateBitINVALID, expr.CmpOpNeq, "ct state invalid")
	translated    = ct(expr.CtKeySTATUS, 1<<5 /* IPS_DST_NAT */, expr.CmpOpNeq, "ct status dnat")
	notTranslated = ct(expr.CtKeySTATUS, 1<<5 /* IPS_DST_NAT */, expr.CmpOpEq, "ct status ! dnat")
)

// setMark sets the packet's mark to what the map has for the field.
func setMark(set string, f field) part {
	return part{fmt.Sprintf("meta mark set %s map @%s", f.text, set),
		append(mapped(set, f), &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg})}
}

// clearMark sets the packet's mark to 0.
var clearMark = part{"meta mark set 0", []expr.Any{
	&expr.Immediate{Register: reg, Data: make([]byte, 4)},
	&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg},
}}

// dnat sends the packet to what the map has for its destination.
func dnat(set string) part {
	return part{"dnat ip to ip daddr map @" + set,
		append(mapped(set, ipDst), &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg})}
}

// snat gives the packet the source that the map has for its own.
func snat(set string) part {
	return part{"snat ip to ip saddr map @" + set,
		append(mapped(set, ipSrc), &expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg})}
}

// snatTo gives the packet the source a.
func snatTo(a netip.Addr) part {
	return part{"snat ip to " + a.String(), []expr.Any{
		&expr.Immediate{Register: reg, Data: a.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg},
	}}
}

// atMost matches so many packets a second.
func atMost(n uint64) part {
	return part{fmt.Sprintf("limit rate %d/second burst %d packets", n, n),
		[]expr.Any{&expr.Limit{Type: expr.LimitTypePkts, Rate: n, Unit: expr.LimitTimeSecond, Burst: uint32(n)}}}
}

// notrack keeps the packet out of connection tracking.
var notrack = part{"notrack", []expr.Any{&expr.Notrack{}}}

var masquerade = part{"masquerade", []expr.Any{&expr.Masq{}}}

func verdict(text string, kind expr.VerdictKind, chain string) part {
	return part{text, []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}}
}

var (
	accept = verdict("accept", expr.VerdictAccept, "")
	drop   = verdict("drop", expr.VerdictDrop, "")
)

func jump(chain string) part { return verdict("jump "+chain, expr.VerdictJump, chain) }

var verdictType = nftables.TypeVerdict
