package fabric_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"eucad/net/fabric"
	"eucad/net/fabrictest"
)

// median reports the median of what f takes, each time, in milliseconds.
func median(b *testing.B, name string, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, name+"-ms/median")
}

// BenchmarkRuleChange measures a change of one rule of a group with 10,000,
// from the new configuration to the kernel's use of it.
func BenchmarkRuleChange(b *testing.B) {
	needHost(b)
	f := newFabric(b, fabric.Options{})
	r := fabrictest.Router("vpc-1", 20)
	rule := fabric.Rule{Protocol: 6, From: 443, To: 443}
	for i := range 10_000 {
		rule.Prefixes = append(rule.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24))
	}
	r.Groups[0].Ingress = []fabric.Rule{rule}
	apply(b, f, r)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		rule.Prefixes = slices.Clone(rule.Prefixes)
		rule.Prefixes[i*37%10_000] = netip.PrefixFrom(netip.AddrFrom4([4]byte{30, byte(i >> 8), byte(i), 0}), 24)
		r.Groups[0].Ingress = []fabric.Rule{rule}
		start := time.Now()
		apply(b, f, r)
		took = append(took, time.Since(start))
	}
	median(b, "enforced", took)
}

// BenchmarkMember measures a member that joins a group of 5,000, which allows
// its members all.
func BenchmarkMember(b *testing.B) {
	needHost(b)
	f := newFabric(b, fabric.Options{})
	r := fabrictest.Router("vpc-1", 20)
	r.Groups[0].Ingress = []fabric.Rule{{Protocol: -1, From: -1, To: -1, Groups: []string{"sg-1"}}}
	for i := range 5_000 {
		r.Groups[0].Members = append(r.Groups[0].Members, netip.AddrFrom4([4]byte{10, 9, 100 + byte(i>>8), byte(i)}))
	}
	apply(b, f, r)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		m := slices.Clone(r.Groups[0].Members)
		m[len(m)-1] = netip.AddrFrom4([4]byte{10, 9, 200 + byte(i>>8)&31, byte(i)})
		r.Groups[0].Members = m
		start := time.Now()
		apply(b, f, r)
		took = append(took, time.Since(start))
	}
	median(b, "enforced", took)
}

// BenchmarkLaunch measures what a launch waits for: the Apply that brings the
// port's filters to a router with 1,000 ports, OpenPort, and Plug.
func BenchmarkLaunch(b *testing.B) {
	needHost(b)
	f := newFabric(b, fabric.Options{})
	all := fabrictest.Router("vpc-1", 1001)
	r := all
	var filters, open, plug, remove []time.Duration
	apply(b, f, r)
	for b.Loop() {
		r.Ports = all.Ports[:1000]
		start := time.Now()
		apply(b, f, r)
		remove = append(remove, time.Since(start))
		p := all.Ports[1000]
		r.Ports = all.Ports

		start = time.Now()
		apply(b, f, r)
		filters = append(filters, time.Since(start))
		start = time.Now()
		if err := f.OpenPort(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		open = append(open, time.Since(start))
		g := power(b, p)
		start = time.Now()
		if err := f.Plug(b.Context(), p.ID); err != nil {
			b.Fatal(err)
		}
		plug = append(plug, time.Since(start))
		g.off()
	}
	median(b, "apply", filters)
	median(b, "open", open)
	median(b, "plug", plug)
	median(b, "remove", remove)
}

// BenchmarkRouter measures the making and removing of a router with one port.
func BenchmarkRouter(b *testing.B) {
	needHost(b)
	f := newFabric(b, fabric.Options{})
	var made, gone []time.Duration
	for b.Loop() {
		start := time.Now()
		apply(b, f, fabrictest.Router("vpc-1", 1))
		made = append(made, time.Since(start))
		start = time.Now()
		apply(b, f)
		gone = append(gone, time.Since(start))
	}
	median(b, "make", made)
	median(b, "remove", gone)
}

// BenchmarkRestart measures what a new process needs to take over 100 routers
// with a guest in each, and to serve them.
func BenchmarkRestart(b *testing.B) {
	needHost(b)
	f := newFabric(b, fabric.Options{})
	var c fabric.Config
	for i := range 100 {
		c.Routers = append(c.Routers, fabrictest.Router(fmt.Sprintf("vpc-%017x", i<<40), 1))
	}
	apply(b, f, c.Routers...)
	for _, r := range c.Routers {
		boot(b, f, r.Ports[0])
	}
	var took []time.Duration
	for b.Loop() {
		f.Close()
		start := time.Now()
		f = newFabric(b, fabric.Options{})
		apply(b, f, c.Routers...)
		took = append(took, time.Since(start))
	}
	median(b, "restart", took)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc+m.StackInuse)/(1<<20), "MiB-100-routers")
}

// BenchmarkRemote measures a change of one of 10,000 addresses on other hosts.
func BenchmarkRemote(b *testing.B) {
	h := site(b, 1, 0)[0]
	r := fabrictest.Router("vpc-1", 20)
	for i := range 10_000 {
		r.Remotes = append(r.Remotes, fabric.Remote{Addr: netip.AddrFrom4([4]byte{10, 9, 100 + byte(i>>8), byte(i)}), Host: netip.AddrFrom4([4]byte{10, 0, 200, byte(i % 250)}), Port: fmt.Sprint("eni-", i)})
	}
	start := time.Now()
	h.apply(r)
	all := time.Since(start)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		r.Remotes = slices.Clone(r.Remotes)
		r.Remotes[i*37%10_000].Host = netip.AddrFrom4([4]byte{10, 0, 200, byte(i % 249)})
		start := time.Now()
		h.apply(r)
		took = append(took, time.Since(start))
	}
	median(b, "changed", took)
	b.ReportMetric(float64(all.Microseconds())/1000, "all-ms")
}
