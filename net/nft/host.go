package nft

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A Host is all that the filters between the host and its routers depend on.
type Host struct {
	Devices string       // the devices towards routers, as a pattern: "euv*"
	Transit netip.Prefix // addresses of those links
	Public  netip.Prefix // of guests; zero for none
	Open    bool         // Public is reached from beyond the host, and leaves it untranslated
	Ports   []uint16     // TCP ports of the host's own that guests may reach

	Tunnel bool         // VXLAN comes to the host
	Peers  []netip.Addr // from these only
	Mesh   string       // device that it comes by, and that guests get nothing by; "" for any
}

const setPeers = "peers" // hosts that may send VXLAN

// vxlan matches what a tunnel carries (RFC 7348, section 5: UDP port 4789).
var vxlan = part{"meta l4proto 17 th dport 4789", slices.Concat(
	protocol(unix.IPPROTO_UDP).exprs, is(dport, expr.CmpOpEq, []byte{4789 >> 8, 4789 & 255}, "").exprs)}

// CompileHost returns the host's table. It judges only what comes from or goes
// to routers and, with a tunnel, VXLAN; for all else the host is as before.
func CompileHost(h Host) *Ruleset {
	out := &Ruleset{Family: nftables.TableFamilyINet}
	ports := Set{Name: setServices, Key: nftables.TypeInetService}
	for _, p := range h.Ports {
		ports.Elements = append(ports.Elements, Element{Key: pad(string([]byte{byte(p >> 8), byte(p)}), 2)})
	}
	out.Sets = []Set{ports}

	outside := []Rule{rule(to(h.Devices), drop)}
	inside := []Rule{rule(v4, from(h.Devices), within(ipSrc, h.Transit), jump("guests"))}
	translate := []Rule{rule(v4, notTo(h.Devices), within(ipSrc, h.Transit), masquerade)}
	if h.Public.IsValid() {
		inside = append(inside, rule(v4, from(h.Devices), within(ipSrc, h.Public), jump("guests")))
		if h.Open {
			outside = append([]Rule{rule(v4, to(h.Devices), within(ipDst, h.Public), accept)}, outside...)
		} else {
			translate = append(translate, rule(v4, notTo(h.Devices), within(ipSrc, h.Public), masquerade))
		}
	}
	forward := append(guestsOut(h), rule(established, accept))
	forward = append(append(forward, inside...), rule(from(h.Devices), drop))

	filter := func(name string, num *nftables.ChainHook, rules []Rule) Chain {
		return Chain{Name: name, Hook: &Hook{nftables.ChainTypeFilter, num, 0, false}, Rules: rules}
	}
	redirect := is(payload("icmp type", expr.PayloadBaseTransportHeader, 0, 1), expr.CmpOpEq, []byte{5}, "redirect")
	out.Chains = []Chain{
		filter("input", nftables.ChainHookInput, append(tunnelIn(h),
			rule(from(h.Devices), established, accept),
			rule(v4, from(h.Devices), protocol(unix.IPPROTO_TCP), in(setServices, dport), accept),
			rule(from(h.Devices), drop),
		)),
		filter("forward", nftables.ChainHookForward, append(forward, outside...)),
		// Traffic between routers comes and goes by way of the host on purpose.
		filter("output", nftables.ChainHookOutput, []Rule{rule(v4, to(h.Devices), protocol(unix.IPPROTO_ICMP), redirect, drop)}),
		{Name: "guests", Rules: []Rule{rule(v4, within(ipDst, h.Transit), drop), rule(accept)}},
		{Name: "srcnat", Hook: &Hook{nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100, false}, Rules: translate},
	}
	if h.Tunnel {
		peers := Set{Name: setPeers, Key: nftables.TypeIPAddr}
		for _, a := range h.Peers {
			peers.Elements = append(peers.Elements, Element{Key: string(a.AsSlice())})
		}
		out.Sets = append(out.Sets, peers)
		out.Chains = append(out.Chains, untracked(h)...)
	}
	out.sort()
	return out
}

// tunnelIn accepts VXLAN from peers alone: whoever can send it is inside a VPC.
func tunnelIn(h Host) []Rule {
	if !h.Tunnel {
		return nil
	}
	allow := rule(v4, vxlan, notFrom(h.Devices), in(setPeers, ipSrc), accept)
	if h.Mesh != "" {
		allow = rule(v4, vxlan, from(h.Mesh), in(setPeers, ipSrc), accept)
	}
	return []Rule{allow, rule(vxlan, drop)}
}

// guestsOut keeps guests from sending in this host's name what is for hosts
// only: what has no public address leaves with the host's own.
func guestsOut(h Host) []Rule {
	if !h.Tunnel {
		return nil
	}
	out := []Rule{rule(v4, from(h.Devices), vxlan, within(ipSrc, h.Transit), drop)}
	if h.Public.IsValid() && !h.Open {
		out = append(out, rule(v4, from(h.Devices), vxlan, within(ipSrc, h.Public), drop))
	}
	if h.Mesh != "" {
		out = append(out, rule(from(h.Devices), to(h.Mesh), drop))
	}
	return out
}

// untracked spares VXLAN the host's connection tracking. Each flow inside a
// tunnel has a port of its own outside, and would be a connection more; and a
// tunnel's packets never need translation.
func untracked(h Host) []Chain {
	return []Chain{
		{Name: "untracked-in", Hook: &Hook{nftables.ChainTypeFilter, nftables.ChainHookPrerouting, -300, false}, Rules: []Rule{
			rule(notFrom(h.Devices), vxlan, notrack),
		}},
		{Name: "untracked-out", Hook: &Hook{nftables.ChainTypeFilter, nftables.ChainHookOutput, -300, false}, Rules: []Rule{
			rule(vxlan, notrack),
		}},
	}
}
