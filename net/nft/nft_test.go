package nft

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"eucad/net/link"
)

func mac(s string) net.HardwareAddr { m, _ := net.ParseMAC(s); return m }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// web is a router with two guests, of a web server and of its data base.
func web() Router {
	all := []Rules{{Protocol: -1, From: -1, To: -1, Prefixes: prefixes("0.0.0.0/0")}}
	return Router{
		Uplink: "up0", Address: addr("100.127.0.1"), Transit: netip.MustParsePrefix("100.127.0.0/16"),
		Services: []Service{{addr("169.254.169.254"), unix.IPPROTO_TCP, 80}, {addr("10.0.0.2"), unix.IPPROTO_UDP, 53}},
		Ports: []Port{
			{Device: "tapweb", MAC: mac("02:00:00:00:00:0a"), Addrs: []netip.Addr{addr("10.0.0.10")}, Groups: []string{"sg-web"},
				Public: map[netip.Addr]netip.Addr{addr("198.51.100.7"): addr("10.0.0.10")}},
			{Device: "tapdb", MAC: mac("02:00:00:00:00:0b"), Addrs: []netip.Addr{addr("10.0.0.11"), addr("10.0.0.12")}, Groups: []string{"sg-db", "sg-gone"}, AnySource: true},
		},
		Groups: []Group{
			{ID: "sg-web", Members: []netip.Addr{addr("10.0.0.10")}, Egress: all, Ingress: []Rules{
				{Protocol: 6, From: 80, To: 80, Prefixes: prefixes("0.0.0.0/0")},
				{Protocol: 6, From: 22, To: 100, Prefixes: prefixes("192.0.2.0/24")},
				{Protocol: 1, From: 8, To: -1, Prefixes: prefixes("0.0.0.0/0")},
				{Protocol: 50, From: -1, To: -1, Prefixes: prefixes("192.0.2.1/32")},
				{Protocol: -1, From: -1, To: -1, Prefixes: prefixes("192.0.2.0/28")},
			}},
			{ID: "sg-db", Members: []netip.Addr{addr("10.0.0.11"), addr("10.0.0.12")}, Egress: all, Ingress: []Rules{
				{Protocol: 6, From: 5432, To: 5432, Groups: []string{"sg-web"}},
			}},
		},
	}
}

func inNS(t testing.TB) *link.NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	ns, err := link.NewNS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func TestApply(t *testing.T) {
	t.Parallel()
	ns := inNS(t)
	f, err := OpenFilters(ns.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	steps := []struct {
		name   string
		change func(*Router)
	}{
		{"fresh", func(*Router) {}},
		{"same", func(*Router) {}},
		{"rule", func(r *Router) { r.Groups[0].Ingress[0].To = 81 }},
		{"wider rule", func(r *Router) { r.Groups[0].Ingress[0].To = 65535; r.Groups[0].Ingress[0].From = 0 }},
		{"member", func(r *Router) { r.Groups[0].Members = append(r.Groups[0].Members, addr("10.0.9.9")) }},
		{"peer", func(r *Router) { r.Groups[0].Ingress[0].Groups = []string{"sg-db", "sg-web"} }},
		{"no peer", func(r *Router) { r.Groups[0].Ingress[0].Groups = nil }},
		{"group of port", func(r *Router) { r.Ports[0].Groups = []string{"sg-web", "sg-db"} }},
		{"address", func(r *Router) { r.Ports[0].Public = nil }},
		{"no group", func(r *Router) { r.Groups = r.Groups[:1] }},
		{"no ports", func(r *Router) { r.Ports = nil }},
		{"nothing", func(r *Router) { r.Groups = nil }},
	}
	r := web()
	for _, s := range steps {
		s.change(&r)
		if err := f.Apply(r); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
}

func BenchmarkRuleChange(b *testing.B) {
	ns := inNS(b)
	f, err := OpenFilters(ns.FD())
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	r := web()
	var rules Rules
	rules.Protocol, rules.From, rules.To = 6, 443, 443
	for i := range 10_000 {
		rules.Prefixes = append(rules.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24))
	}
	r.Groups[0].Ingress = []Rules{rules}
	if err := f.Apply(r); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	i := 0
	for b.Loop() {
		i++
		changed := rules
		changed.Prefixes = slices.Clone(rules.Prefixes)
		changed.Prefixes[i*37%10_000] = netip.PrefixFrom(netip.AddrFrom4([4]byte{30, byte(i >> 8), byte(i), 0}), 24)
		r.Groups[0].Ingress = []Rules{changed}
		start := time.Now()
		if err := f.Apply(r); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
}

var _ = fmt.Sprint
