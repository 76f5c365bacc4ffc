package cloud

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// node returns a node of zone a with 8 CPUs and 100 GiB, of which instances
// have a CPU each.
func node(name string, memory, used, instances int) Candidate {
	return Candidate{
		Node: &Node{Name: name, Zone: "a", Arch: "x86_64", Kind: "kvm", CPUs: 8, MemoryMiB: memory, DiskGiB: 100},
		Use:  Use{Instances: instances, CPUs: instances, MemoryMiB: used},
	}
}

func policyNamed(t testing.TB, name string) Policy {
	for _, p := range Policies() {
		if p.Name() == name {
			return p
		}
	}
	t.Fatalf("no policy %s", name)
	return nil
}

func TestPolicies(t *testing.T) {
	small, half, idle, full := node("n1", 1000, 0, 0), node("n2", 8000, 4000, 4), node("n3", 8000, 0, 0), node("n4", 4000, 3900, 2)
	used := half
	used.Turn = 7
	for _, tt := range []struct {
		policy string
		name   string
		fleet  Fleet
		want   string
	}{
		{"spread", "most free memory", Fleet{small, half, idle, full}, "n3"},
		{"spread", "equals by name", Fleet{node("n1", 2000, 0, 0), node("n2", 3000, 1000, 1)}, "n1"},
		{"greedy", "least free memory that will do", Fleet{small, half, idle, full}, "n1"},
		{"greedy", "not the small one when it is full", Fleet{half, idle, full}, "n2"},
		{"greedy", "equals by name", Fleet{node("n1", 2000, 0, 0), node("n2", 3000, 1000, 1)}, "n1"},
		{"roundrobin", "the first at first", Fleet{small, half, idle}, "n1"},
		{"roundrobin", "after the last", Fleet{small, used, idle}, "n3"},
		{"roundrobin", "from the start again", Fleet{small, used}, "n1"},
		{"roundrobin", "past the full one", Fleet{small, used, full}, "n1"},
		{"powersave", "one in use", Fleet{small, half, idle}, "n2"},
		{"powersave", "the fullest in use", Fleet{small, half, idle, node("n4", 8000, 5000, 1)}, "n4"},
		{"powersave", "the first when none in use has room", Fleet{small, idle, full}, "n1"},
	} {
		t.Run(tt.policy+"/"+tt.name, func(t *testing.T) {
			c, err := tt.fleet.Place(policyNamed(t, tt.policy), Need{CPUs: 1, MemoryMiB: 500})
			if err != nil || c.Node != tt.want || tt.fleet[c.At].Node.Name != tt.want || c.Policy != tt.policy || c.Failure != "" {
				t.Errorf("placed on %q by %s (%s), %v; want %s", c.Node, c.Policy, c.Failure, err, tt.want)
			}
		})
	}
}

func TestRoundRobinTakesTurns(t *testing.T) {
	fleet := Fleet{node("n1", 8000, 0, 0), node("n2", 400, 0, 0), node("n3", 8000, 0, 0), node("n4", 8000, 0, 0)}
	var got []string
	for range 7 {
		c, err := fleet.Place(policyNamed(t, "roundrobin"), Need{CPUs: 1, MemoryMiB: 500})
		if err != nil {
			t.Fatal(err)
		}
		fleet.Give(c.At, Need{CPUs: 1, MemoryMiB: 500})
		got = append(got, c.Node)
	}
	if want := "n1 n3 n4 n1 n3 n4 n1"; strings.Join(got, " ") != want {
		t.Errorf("turns = %v, want %s", got, want)
	}
}

func TestConstraints(t *testing.T) {
	need := Need{Type: "t2.nano", Zone: "a", Arch: "x86_64", Hypervisor: "kvm", CPUs: 2, MemoryMiB: 512, DiskGiB: 10}
	for _, tt := range []struct {
		name   string
		change func(*Candidate)
		why    string // of the refusal; "" for none
	}{
		{"fits", func(*Candidate) {}, ""},
		{"fits exactly", func(c *Candidate) { c.Use = Use{4, 6, 7488, 90} }, ""},
		{"zone", func(c *Candidate) { c.Node.Zone = "b" }, "is in zone b"},
		{"architecture", func(c *Candidate) { c.Node.Arch = "aarch64" }, "has the architecture aarch64"},
		{"hypervisor", func(c *Candidate) { c.Node.Kind = "xen" }, "has the hypervisor xen"},
		{"cordoned", func(c *Candidate) { c.Node.Cordoned = true }, "is cordoned"},
		{"lost", func(c *Candidate) { c.Node.Lost = true }, "is not heard of"},
		{"CPUs", func(c *Candidate) { c.Use.CPUs = 7 }, "1 CPUs missing (2 needed, 1 free)"},
		{"memory", func(c *Candidate) { c.Use.MemoryMiB = 7900 }, "412 MiB of memory missing (512 needed, 100 free)"},
		{"disk", func(c *Candidate) { c.Use.DiskGiB = 95 }, "5 GiB of disk missing (10 needed, 5 free)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := node("n1", 8000, 0, 0)
			tt.change(&c)
			other := node("n2", 8000, 7999, 0) // too small, so that the message has something to say
			choice, err := Fleet{c, other}.Place(DefaultPolicy, need)
			if fits := err == nil; fits != (tt.why == "") {
				t.Fatalf("err = %v", err)
			}
			if err == nil {
				return
			}
			if FaultCode(err) != "InsufficientInstanceCapacity" {
				t.Errorf("err = %v", err)
			}
			choice.At = 1
			if choice.Explain(); len(choice.Others) != 1 || choice.Others[0].Why != tt.why {
				t.Errorf("explained as %+v, want %q", choice.Others, tt.why)
			}
		})
	}
}

func TestPinned(t *testing.T) {
	fleet := Fleet{node("n1", 8000, 0, 0), node("n2", 8000, 7000, 1), node("n3", 8000, 0, 0)}
	c, err := fleet.Place(DefaultPolicy, Need{Node: "n2", CPUs: 1, MemoryMiB: 500})
	if err != nil || c.Node != "n2" || c.At != 1 {
		t.Fatalf("placed on %q, %v", c.Node, err)
	}
	if c.Explain(); len(c.Others) != 0 || len(c.Rest) != 1 || c.Rest[0].Nodes != 2 {
		t.Errorf("others %+v, rest %+v", c.Others, c.Rest)
	}
	if _, err := fleet.Place(DefaultPolicy, Need{Type: "m1.small", Node: "n2", CPUs: 1, MemoryMiB: 1500}); FaultCode(err) != "InsufficientInstanceCapacity" {
		t.Errorf("err = %v", err)
	}
}

func TestShortTellsWhereLeastIsMissing(t *testing.T) {
	fleet := Fleet{node("n1", 4000, 3000, 1), node("n2", 4000, 2500, 1), node("n3", 4000, 4000, 1)}
	_, err := fleet.Place(DefaultPolicy, Need{Type: "x.y", Zone: "a", CPUs: 1, MemoryMiB: 2000})
	const want = "InsufficientInstanceCapacity: We currently do not have sufficient x.y capacity in the Availability Zone you requested (a): " +
		"500 MiB of memory missing (2000 needed, 1500 free)."
	if err == nil || err.Error() != want {
		t.Errorf("err = %v\nwant  %s", err, want)
	}
}

// A scripted policy says what its test wants.
type scripted struct {
	at  int
	err error
}

func (scripted) Name() string                          { return "scripted" }
func (s scripted) Pick([]Candidate, Need) (int, error) { return s.at, s.err }

func TestFailingPolicyGivesWay(t *testing.T) {
	fleet := Fleet{node("n1", 1000, 0, 0), node("n2", 8000, 0, 0)}
	for _, p := range []scripted{{0, errors.New("boom")}, {2, nil}, {-1, nil}} {
		c, err := fleet.Place(p, Need{CPUs: 1, MemoryMiB: 500})
		if err != nil || c.Node != "n2" || c.Policy != "spread" || !strings.HasPrefix(c.Failure, "scripted: ") {
			t.Errorf("%+v: placed on %q by %s (%s), %v", p, c.Node, c.Policy, c.Failure, err)
		}
	}
	_, err := fleet.Place(scripted{0, ErrNowhere}, Need{Type: "t2.nano", CPUs: 1})
	if FaultCode(err) != "InsufficientInstanceCapacity" || !strings.Contains(err.Error(), "scripted takes none of the 2 nodes") {
		t.Errorf("err = %v", err)
	}
}

func TestExplainIsBounded(t *testing.T) {
	var fleet Fleet
	for i := range 200 {
		c := node(fmt.Sprintf("n%03d", i), 8000, 0, 0)
		switch {
		case i < 100:
			c.Node.Zone = "b"
		case i < 110:
			c.Node.Cordoned = true
		}
		fleet = append(fleet, c)
	}
	c, err := fleet.Place(DefaultPolicy, Need{Zone: "a", CPUs: 1, MemoryMiB: 500})
	if err != nil {
		t.Fatal(err)
	}
	c.Explain()
	if len(c.Others) != MaxOthers || c.Others[0] != (Other{"n100", "is cordoned"}) || c.Others[10].Node != "n111" {
		t.Errorf("%d others, %+v", len(c.Others), c.Others[:11])
	}
	if want := []Rest{{35, "would do"}, {100, "are in another zone"}}; len(c.Rest) != 2 || c.Rest[0] != want[0] || c.Rest[1] != want[1] {
		t.Errorf("rest = %+v, want %+v", c.Rest, want)
	}
}

func TestSleepers(t *testing.T) {
	fleet := Fleet{node("n1", 8, 0, 0), node("n2", 8, 1, 1), node("n3", 8, 0, 0), node("n4", 8, 0, 0), node("n5", 8, 0, 0), node("n6", 8, 0, 0)}
	fleet[3].Node.Zone, fleet[4].Node.Cordoned, fleet[5].Node.Lost = "b", true, true
	if got := fmt.Sprint(Sleepers(fleet)); got != "[n3 n5]" { // n1 and n4 are the spares
		t.Errorf("sleepers = %s", got)
	}
}

func TestOvercommit(t *testing.T) {
	var n Node
	n.SetHost(Capacity{CPUs: 8, MemoryMiB: 1000, DiskGiB: 100}, Overcommit{CPU: 4, Memory: 1.5, Disk: 0.9})
	if n.CPUs != 32 || n.MemoryMiB != 1500 || n.DiskGiB != 90 || n.Host.CPUs != 8 {
		t.Errorf("node = %+v", n)
	}
}

func drawFleet(t *rapid.T) Fleet {
	var fleet Fleet
	for i := range rapid.IntRange(0, 12).Draw(t, "nodes") {
		some := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
		n := &Node{Name: fmt.Sprintf("n%02d", i), Zone: some("zone", "a", "b"), Arch: some("arch", "x86_64", "aarch64"), Kind: some("kind", "kvm", "xen"),
			CPUs: rapid.IntRange(0, 8).Draw(t, "cpus"), MemoryMiB: rapid.IntRange(0, 4000).Draw(t, "memory"), DiskGiB: rapid.Int64Range(0, 50).Draw(t, "disk"),
			Cordoned: rapid.IntRange(0, 4).Draw(t, "cordoned") == 0, Lost: rapid.IntRange(0, 4).Draw(t, "lost") == 0}
		instances := rapid.IntRange(0, 3).Draw(t, "instances")
		fleet = append(fleet, Candidate{Node: n, Turn: rapid.Int64Range(0, 3).Draw(t, "turn"),
			Use: Use{instances, instances, 700 * instances, int64(9 * instances)}})
	}
	return fleet
}

// Whatever the policy: what it picks fits, the same question has the same
// answer, and there is an answer when anything fits.
func TestPlaceNeverOverfills(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fleet := drawFleet(t)
		p := rapid.SampledFrom(Policies()).Draw(t, "policy")
		need := Need{Zone: rapid.SampledFrom([]string{"", "a"}).Draw(t, "zone"), Arch: rapid.SampledFrom([]string{"", "x86_64"}).Draw(t, "arch"),
			Hypervisor: rapid.SampledFrom([]string{"", "xen"}).Draw(t, "hypervisor"), CPUs: rapid.IntRange(1, 4).Draw(t, "cpus"),
			MemoryMiB: rapid.IntRange(1, 2000).Draw(t, "memory"), DiskGiB: rapid.Int64Range(0, 20).Draw(t, "disk")}
		may := func(c Candidate) bool {
			n, u := c.Node, c.Use
			return !n.Cordoned && !n.Lost && (need.Zone == "" || n.Zone == need.Zone) && (need.Arch == "" || n.Arch == need.Arch) &&
				(need.Hypervisor == "" || n.Kind == need.Hypervisor) &&
				u.CPUs+need.CPUs <= n.CPUs && u.MemoryMiB+need.MemoryMiB <= n.MemoryMiB && u.DiskGiB+need.DiskGiB <= n.DiskGiB
		}
		for range 4 {
			any := false
			for _, c := range fleet {
				any = any || may(c)
			}
			c, err := fleet.Place(p, need)
			if !any {
				if FaultCode(err) != "InsufficientInstanceCapacity" {
					t.Fatalf("nothing fits, but: %q, %v", c.Node, err)
				}
				return
			}
			if err != nil || !may(fleet[c.At]) || fleet[c.At].Node.Name != c.Node {
				t.Fatalf("%s placed on %q, %v", p.Name(), c.Node, err)
			}
			if again, _ := fleet.Place(p, need); again.Node != c.Node {
				t.Fatalf("%s first says %s and then %s", p.Name(), c.Node, again.Node)
			}
			c.Explain()
			told := len(c.Others)
			for _, r := range c.Rest {
				told += r.Nodes
			}
			if told != len(fleet)-1 {
				t.Fatalf("%d of %d other nodes are explained", told, len(fleet)-1)
			}
			fleet.Give(c.At, need)
		}
	})
}

// BenchmarkPlace decides among 1,000 nodes of two zones, and explains.
func BenchmarkPlace(b *testing.B) {
	for _, p := range Policies() {
		b.Run(p.Name(), func(b *testing.B) {
			var fleet Fleet
			for i := range 1000 {
				c := node(fmt.Sprintf("n%04d", i), 256<<10, i*7919%1000*200, 1)
				c.Node.Zone = string(rune('a' + i%2))
				fleet = append(fleet, c)
			}
			b.ReportAllocs()
			for b.Loop() {
				c, err := fleet.Place(p, Need{Zone: "a", Arch: "x86_64", CPUs: 1, MemoryMiB: 512, DiskGiB: 8})
				if err != nil {
					b.Fatal(err)
				}
				c.Explain()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}
