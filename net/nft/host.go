package nft

import (
	"net/netip"

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
}

// CompileHost returns the host's table. It judges only what comes from or goes
// to routers; for all else the host is as before.
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
	forward := append([]Rule{rule(established, accept)}, inside...)
	forward = append(forward, rule(from(h.Devices), drop))

	filter := func(name string, num *nftables.ChainHook, rules []Rule) Chain {
		return Chain{Name: name, Hook: &Hook{nftables.ChainTypeFilter, num, 0, false}, Rules: rules}
	}
	redirect := is(payload("icmp type", expr.PayloadBaseTransportHeader, 0, 1), expr.CmpOpEq, []byte{5}, "redirect")
	out.Chains = []Chain{
		filter("input", nftables.ChainHookInput, []Rule{
			rule(from(h.Devices), established, accept),
			rule(v4, from(h.Devices), protocol(unix.IPPROTO_TCP), in(setServices, dport), accept),
			rule(from(h.Devices), drop),
		}),
		filter("forward", nftables.ChainHookForward, append(forward, outside...)),
		// Traffic between routers comes and goes by way of the host on purpose.
		filter("output", nftables.ChainHookOutput, []Rule{rule(v4, to(h.Devices), protocol(unix.IPPROTO_ICMP), redirect, drop)}),
		{Name: "guests", Rules: []Rule{rule(v4, within(ipDst, h.Transit), drop), rule(accept)}},
		{Name: "srcnat", Hook: &Hook{nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100, false}, Rules: translate},
	}
	out.sort()
	return out
}
