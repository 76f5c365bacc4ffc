package peer

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"eucad/roles/peer/peertest"
)

var testKey = bytes.Repeat([]byte{7}, 32)

// member starts host number i of a pool in memory.
func member(t testing.TB, p *peertest.Pool, i int, change func(*GossipOptions)) *Gossip {
	t.Helper()
	o := GossipOptions{
		Identity: Identity{Node, fmt.Sprintf("n%d", i), "az1"},
		Keys:     [][]byte{testKey}, Meta: Meta{Addr: peertest.Address(i), Version: testVersion},
		Transport: p.Host(i),
	}
	if i > 1 {
		o.Join = []string{peertest.Address(1)}
	}
	if change != nil {
		change(&o)
	}
	t.Cleanup(func() { time.Sleep(10 * time.Second) }) // for probes on their way
	g, err := NewGossip(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// run runs the members until the test ends.
func run(t testing.TB, gs ...*Gossip) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, g := range gs {
		wg.Go(func() {
			if err := g.Run(ctx); err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

func sees(g *Gossip) string {
	var out []string
	for _, m := range g.Members() {
		out = append(out, m.Name)
	}
	return strings.Join(out, " ")
}

func TestGossip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peertest.NewPool(1)
		head := member(t, p, 1, func(o *GossipOptions) { o.Identity = head1 })
		n2, n3 := member(t, p, 2, nil), member(t, p, 3, nil)
		run(t, head, n2)
		stop3 := run(t, n3)
		time.Sleep(10 * time.Second)
		for _, g := range []*Gossip{head, n2, n3} {
			if got := sees(g); got != "head1 n2 n3" {
				t.Errorf("members = %s", got)
			}
		}
		m := head.Members()[1]
		if m.Identity != n2.opt.Identity || m.Addr != peertest.Address(2) || m.Version != testVersion || m.Gossip.String() != peertest.Address(2) {
			t.Errorf("member = %+v", m)
		}

		for len(head.Changes()) > 0 {
			<-head.Changes()
		}
		if err := n2.SetMeta(Meta{Addr: "x:1", Digest: "d1"}); err != nil {
			t.Error(err)
		}
		<-head.Changes()
		if m := head.Members()[1]; m.Digest != "d1" || m.Addr != "x:1" {
			t.Errorf("member = %+v", m)
		}
		if err := n2.SetMeta(Meta{Digest: strings.Repeat("d", memberlist.MetaMaxSize)}); err == nil {
			t.Error("too much metadata was taken")
		}

		start := time.Now()
		stop3()
		time.Sleep(time.Second)
		if got := sees(head); got != "head1 n2" {
			t.Errorf("members = %s, %v after n3 left", got, time.Since(start))
		}
	})
}

// A network that was cut heals, though both sides had given each other up.
func TestGossipHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peertest.NewPool(1)
		var gs []*Gossip
		for i := range 6 {
			gs = append(gs, member(t, p, i+1, nil))
		}
		run(t, gs...)
		time.Sleep(10 * time.Second)
		p.Cut(func(a, b int) bool { return a <= 3 != (b <= 3) })
		time.Sleep(10 * time.Minute)
		if a, b := sees(gs[0]), sees(gs[5]); a != "n1 n2 n3" || b != "n4 n5 n6" {
			t.Errorf("members = %s, and %s", a, b)
		}
		p.Cut(nil)
		time.Sleep(2 * time.Minute)
		for _, g := range gs {
			if got := sees(g); got != "n1 n2 n3 n4 n5 n6" {
				t.Errorf("members = %s", got)
			}
		}
	})
}

func TestGossipRotatesKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peertest.NewPool(1)
		var gs []*Gossip
		for i := range 3 {
			gs = append(gs, member(t, p, i+1, nil))
		}
		run(t, gs...)
		time.Sleep(10 * time.Second)
		next := NewGossipKey()
		for _, keys := range [][][]byte{{testKey, next}, {next, testKey}, {next}} {
			for _, g := range gs {
				if err := g.SetKeys(keys); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Second)
			}
		}
		for _, g := range gs {
			if got := sees(g); got != "n1 n2 n3" || len(g.ring.GetKeys()) != 1 {
				t.Errorf("members = %s, %d keys", got, len(g.ring.GetKeys()))
			}
		}
		late := member(t, p, 4, func(o *GossipOptions) { o.Keys = [][]byte{next} })
		run(t, late)
		time.Sleep(10 * time.Second)
		if got := sees(gs[2]); got != "n1 n2 n3 n4" {
			t.Errorf("members = %s", got)
		}
		if err := gs[0].SetKeys([][]byte{[]byte("short")}); err == nil {
			t.Error("a short key was taken")
		}
	})
}

// Strangers stay outside, and both sides say why, once.
func TestGossipStrangers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*GossipOptions)
		say    string
	}{
		{"wrong key", func(o *GossipOptions) { o.Keys = [][]byte{NewGossipKey()} }, "another key"},
		{"wrong zone", func(o *GossipOptions) { o.Identity.Zone = "az2" }, "another pool"},
		{"wrong pool", func(o *GossipOptions) { o.WAN = true }, "another pool"},
		{"name taken", func(o *GossipOptions) { o.Identity.Name = "n1" }, "one name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := warnings(t)
			synctest.Test(t, func(t *testing.T) {
				p := peertest.NewPool(1)
				a, b := member(t, p, 1, nil), member(t, p, 2, tt.change)
				run(t, a, b)
				time.Sleep(30 * time.Minute)
				if len(a.Members()) != 1 || len(b.Members()) != 1 {
					t.Errorf("members = %s, and %s", sees(a), sees(b))
				}
				for who, g := range map[string]*Gossip{"member": a, "stranger": b} {
					if n := w.about(g.opt.Identity, tt.say); n != 1 && tt.name != "name taken" {
						t.Errorf("%d warnings by the %s: %q", n, who, w.lines)
					}
				}
				if tt.name == "name taken" && w.about(a.opt.Identity, tt.say) == 0 {
					t.Errorf("no warning: %q", w.lines)
				}
			})
		})
	}
}

// A host that crashed comes back at another address.
func TestGossipReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peertest.NewPool(1)
		a, b := member(t, p, 1, nil), member(t, p, 2, nil)
		run(t, a)
		b.rejoin()
		time.Sleep(5 * time.Second)
		if got := sees(a); got != "n1 n2" {
			t.Fatalf("members = %s", got)
		}
		b.Close()
		time.Sleep(15 * time.Second)
		if got := sees(a); got != "n1" {
			t.Fatalf("members = %s", got)
		}
		moved := member(t, p, 3, func(o *GossipOptions) { o.Identity.Name = "n2" })
		run(t, moved)
		time.Sleep(2 * time.Minute)
		if m := a.Members(); len(m) != 2 || m[1].Addr != peertest.Address(3) {
			t.Errorf("members = %+v", m)
		}
	})
}

func TestGossipOnLoopback(t *testing.T) {
	bind := func(id Identity, join ...string) *Gossip {
		g, err := NewGossip(GossipOptions{Identity: id, WAN: true, Bind: "127.0.0.1:0", Keys: [][]byte{testKey}, Join: join})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	a := bind(fe1)
	b := bind(head1, a.list.LocalNode().Address())
	stop := run(t, a, b)
	for deadline := time.Now().Add(20 * time.Second); len(a.Members()) != 2 || len(b.Members()) != 2; {
		if time.Now().After(deadline) {
			t.Fatalf("members = %s, and %s", sees(a), sees(b))
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	time.Sleep(wanConfig().ProbeInterval) // a probe that was on its way
}

// simulate runs n hosts that lose 1 % of their packets for ten minutes, in
// which none may be thought dead; then one dies, and all must know in 10 s.
func simulate(t testing.TB, n int) (joined, known time.Duration) {
	p := peertest.NewPool(uint64(n))
	random := rand.New(rand.NewPCG(uint64(n), 1))
	gs := make([]*Gossip, n)
	for i := range gs {
		gs[i] = member(t, p, i+1, func(o *GossipOptions) {
			if i > 0 { // someone who is there already
				o.Join = []string{peertest.Address(1 + random.IntN(i))}
			}
		})
		gs[i].rejoin()
	}
	defer func() {
		for _, g := range gs {
			g.Close()
		}
	}()
	all := func(what string, most time.Duration, done func(*Gossip) bool) time.Duration {
		start := time.Now()
		for i, g := range gs {
			for !done(g) {
				if time.Since(start) > most {
					t.Fatalf("host %d does not know %s after %v", i+1, what, most)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		return time.Since(start)
	}
	joined = all("all others", 10*time.Minute, func(g *Gossip) bool { return count(g) == n })

	p.SetLoss(0.01)
	time.Sleep(10 * time.Minute)
	for i, g := range gs {
		if d := g.Losses(); d != 0 {
			t.Errorf("host %d thought %d dead that were not", i+1, d)
		}
	}

	dead := random.IntN(n)
	gs[dead].Close()
	known = all("of the death", time.Minute, func(g *Gossip) bool { return g == gs[dead] || g.Losses() > 0 })
	if known > 10*time.Second {
		t.Errorf("it took %v until all knew", known)
	}
	return joined, known
}

// count is len(g.Members()), cheaper.
func count(g *Gossip) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)
}

func TestGossipMany(t *testing.T) {
	n := 200
	if raceEnabled { // it takes ten times as long
		n = 40
	}
	synctest.Test(t, func(t *testing.T) {
		joined, known := simulate(t, n)
		t.Logf("%d hosts: all known after %v, a death known to all after %v", n, joined, known)
	})
}

// BenchmarkGossip1000 is the same with 1,000 hosts, which takes minutes.
func BenchmarkGossip1000(b *testing.B) {
	if os.Getenv("EUCAD_SLOW") == "" {
		b.Skip("it takes minutes: set EUCAD_SLOW=1")
	}
	var known time.Duration
	for b.Loop() {
		// A bubble wants a test.
		all := func(string, string) (bool, error) { return true, nil }
		if !testing.RunTests(all, []testing.InternalTest{{Name: "Gossip1000", F: func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { _, known = simulate(t, 1000) })
		}}}) {
			b.Fatal("see above")
		}
	}
	b.ReportMetric(known.Seconds(), "s/known-dead")
}
