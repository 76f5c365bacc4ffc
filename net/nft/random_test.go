package nft

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eucad/net/link"
)

// listing returns what the kernel holds, as nft(8) sees it: chains by name,
// with their rules in order, and elements in the order of their text.
func listing(t *testing.T, ns *link.NS) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "-n", "-y", "list", "ruleset")
	var out []byte
	if err := ns.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err }); err != nil {
		t.Fatalf("nft list ruleset: %v\n%s", err, out)
	}
	var blocks []string
	for b := range strings.SplitSeq(strings.ReplaceAll(string(out), "\n}\n", "\n\n"), "\n\n") {
		lines := strings.Split(strings.NewReplacer("elements = {", "\n", "}", "\n", ", ", "\n", ",\n", "\n").Replace(b), "\n")
		for i := range lines {
			lines[i] = strings.Trim(lines[i], "\t\n ,")
		}
		lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" || strings.HasPrefix(l, "table ") })
		if len(lines) > 0 && !strings.HasPrefix(lines[0], "chain") {
			slices.Sort(lines)
		}
		blocks = append(blocks, strings.Join(lines, "\n"))
	}
	slices.Sort(blocks)
	return strings.Join(blocks, "\n\n")
}

// randomRouter draws a router whose parts often are those of other draws.
func randomRouter(r *rand.Rand) Router {
	out := web()
	out.Ports, out.Groups = nil, nil
	if r.IntN(2) == 0 {
		out.Tunnel, out.Relay, out.Gateway, out.Behind = "vx0", r.IntN(2) == 0, r.IntN(2) == 0, addr("100.127.255.254")
	}
	if out.Gateway {
		out.Public = map[netip.Addr]netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(100 + r.IntN(2))}): netip.AddrFrom4([4]byte{10, 0, 1, byte(r.IntN(2))})}
	}
	ids := []string{"sg-a", "sg-b", "sg-c", "sg-d"}
	some := func() (s []string) {
		for _, id := range ids {
			if r.IntN(3) == 0 {
				s = append(s, id)
			}
		}
		return s
	}
	for i := range 5 {
		if r.IntN(3) == 0 {
			continue
		}
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)})
		p := Port{Device: fmt.Sprintf("tap%d", i), MAC: mac(fmt.Sprintf("02:00:00:00:00:%02x", i)), Addrs: []netip.Addr{a}, AnySource: r.IntN(4) == 0, Groups: some()}
		if r.IntN(2) == 0 {
			p.Public = map[netip.Addr]netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(i*2 + r.IntN(2))}): a}
		}
		out.Ports = append(out.Ports, p)
	}
	for _, id := range ids {
		if r.IntN(5) == 0 {
			continue
		}
		g := Group{ID: id, Ingress: randomRules(r, some), Egress: randomRules(r, some)}
		for i := range 5 {
			if r.IntN(2) == 0 {
				g.Members = append(g.Members, netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}))
			}
		}
		out.Groups = append(out.Groups, g)
	}
	return out
}

func randomRules(r *rand.Rand, some func() []string) []Rules {
	var out []Rules
	for range r.IntN(6) {
		rule := Rules{Protocol: []int{-1, 1, 6, 17, 47}[r.IntN(5)], From: -1, To: -1, Groups: some()}
		switch {
		case rule.Protocol == 1:
			rule.From, rule.To = r.IntN(10)-1, r.IntN(3)-1
		case rule.Protocol > 1:
			rule.From = r.IntN(200)
			rule.To = rule.From + r.IntN(200)
		}
		for range r.IntN(4) {
			a := netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(3)), byte(r.IntN(256))})
			rule.Prefixes = append(rule.Prefixes, netip.PrefixFrom(a, []int{0, 8, 15, 16, 24, 30, 32}[r.IntN(7)]).Masked())
		}
		if r.IntN(20) == 0 { // a group of many shards
			for i := range 300 + r.IntN(700) {
				rule.Prefixes = append(rule.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24))
			}
		}
		out = append(out, rule)
	}
	return out
}

// TestRandom changes one table again and again; each time the kernel must hold
// what a table made at once holds.
func TestRandom(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("no nft(8) here to read tables with")
	}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			ns := inNS(t)
			r := rand.New(rand.NewPCG(seed, 0))
			f, err := OpenFilters(ns.FD())
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for step := range 25 {
				want := randomRouter(r)
				if err := f.Apply(want); err != nil {
					t.Fatalf("step %d: %v", step, err)
				}
				changed := listing(t, ns)
				fresh, err := OpenFilters(ns.FD())
				if err != nil {
					t.Fatal(err)
				}
				if err := fresh.Apply(want); err != nil {
					t.Fatalf("step %d, at once: %v", step, err)
				}
				if got := listing(t, ns); changed != got {
					t.Fatalf("step %d (-at once +after changes):\n%s", step, cmp.Diff(strings.Split(got, "\n"), strings.Split(changed, "\n")))
				}
				if err := fresh.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestDisjoint holds what boxes cover against asking each of them.
func TestDisjoint(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var in []box
		for range 1 + r.IntN(12) {
			bits := uint8([]int{0, 28, 29, 30, 31, 32}[r.IntN(6)])
			lo := uint16(r.IntN(12))
			in = append(in, box{plane: byte(r.IntN(2)), addr: uint32(r.IntN(16)) & maskOf(int(bits)), bits: bits, lo: lo, hi: lo + uint16(r.IntN(6))})
		}
		out := disjoint(slices.Clone(in))
		for plane := range byte(2) {
			for addr := range uint32(17) {
				for port := range uint16(19) {
					holds := func(b box) bool {
						return b.plane == plane && b.addr <= addr && addr <= b.last() && b.lo <= port && port <= b.hi
					}
					n := 0
					for _, b := range out {
						if holds(b) {
							n++
						}
					}
					want := 0
					if slices.ContainsFunc(in, holds) {
						want = 1
					}
					if n != want {
						t.Fatalf("seed %d: plane %d address %d port %d is in %d boxes, want %d\nin  %v\nout %v", seed, plane, addr, port, n, want, in, out)
					}
				}
			}
		}
	}
}

// TestRemoved sees that a table that somebody removed comes back.
func TestRemoved(t *testing.T) {
	t.Parallel()
	ns := inNS(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("no nft(8) here to remove tables with")
	}
	f, err := OpenFilters(ns.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Apply(web()); err != nil {
		t.Fatal(err)
	}
	want := listing(t, ns)
	for _, ruin := range []string{"flush set inet eucad owners", "flush ruleset"} {
		changed := web()
		err := ns.Do(func() error { return exec.CommandContext(t.Context(), "nft", ruin).Run() })
		if err != nil {
			t.Fatalf("%s: %v", ruin, err)
		}
		changed.Ports = changed.Ports[:1]
		for _, r := range []Router{changed, web()} {
			if err := f.Apply(r); err != nil {
				t.Errorf("after %s: %v", ruin, err)
			}
		}
		if got := listing(t, ns); got != want {
			t.Errorf("after %s:\n%s", ruin, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
		}
	}
}

// A compiler that has seen a group before says the same of it as one that has
// not, however many sets the group needs.
func TestCompileAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 0))
	var c compiler
	router := web()
	for step := range 200 {
		rule := Rules{Protocol: 6, From: 443, To: 443}
		for i := range []int{0, 10, maxShard, 3 * maxShard}[step/20%4] {
			rule.Prefixes = append(rule.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24-r.IntN(2)))
		}
		all := Rules{Protocol: -1, Prefixes: rule.Prefixes[:len(rule.Prefixes)/2]}
		router.Groups = []Group{{ID: "sg-a", Ingress: []Rules{rule}, Egress: []Rules{all}}}
		if diff := cmp.Diff(Compile(router).String(), c.compile(router).String()); diff != "" {
			t.Fatalf("step %d: -anew +again\n%s", step, diff)
		}
	}
}
