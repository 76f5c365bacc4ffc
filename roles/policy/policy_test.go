package policy

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"eucad/store/cloud"
)

// mostFreeDisk is a policy as a site might write it.
const mostFreeDisk = `
def place(need, nodes):
    best = nodes[0]
    for n in nodes:
        if n.free_disk_gib > best.free_disk_gib:
            best = n
    return best.name
`

func script(t testing.TB, source string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "site.star")
	write(t, file, source)
	return file
}

func write(t testing.TB, file, source string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
}

func fleet(n int) cloud.Fleet {
	var f cloud.Fleet
	for i := range n {
		f = append(f, cloud.Candidate{Node: &cloud.Node{Name: fmt.Sprintf("n%04d", i), Zone: "a", Arch: "x86_64", Kind: "kvm", CPUs: 64, MemoryMiB: 256 << 10, DiskGiB: 1000},
			Use: cloud.Use{Instances: 1, CPUs: 1, MemoryMiB: 512, DiskGiB: int64(i * 7919 % 1000)}})
	}
	return f
}

var need = cloud.Need{Type: "t2.nano", Zone: "a", Arch: "x86_64", CPUs: 1, MemoryMiB: 512}

func TestScripts(t *testing.T) {
	for _, tt := range []struct {
		name, source string
		want         string // node
		fails        string // part of the error; the default policy then takes n0000
	}{
		{"picks", mostFreeDisk, "n0000", ""},
		{"every attribute", `
def place(need, nodes):
    n = [x for x in nodes if x.name == "n0002"][0]
    values = [getattr(x, a) for x in (need, n) for a in dir(x)]
    if len(values) != 18 or need.memory_mib != 512 or n.free_cpus != n.cpus - 1 or n.instances != 1:
        fail(values)
    return n.name
`, "n0002", ""},
		{"prints into the void", "def place(need, nodes):\n    print('hello')\n    return 'n0001'", "n0001", ""},
		{"unknown node", "def place(need, nodes):\n    return 'n9'", "n0000", `returned "n9"`},
		{"something else", "def place(need, nodes):\n    return 7", "n0000", "returned a int"},
		{"fails", "def place(need, nodes):\n    fail('not today')", "n0000", "line 2: fail: not today"},
		{"no such attribute", "def place(need, nodes):\n    return nodes[0].nmae", "n0000", "nmae"},
		{"too many steps", "def place(need, nodes):\n    for i in range(1000 * 1000 * 1000):\n        pass", "n0000", "too many steps"},
		{"recursion", "def place(need, nodes):\n    return place(need, nodes)", "n0000", "called recursively"},
		{"writes to its input", "def place(need, nodes):\n    nodes[0].name = 'x'", "n0000", "can't assign"},
		{"keeps something", "seen = []\ndef place(need, nodes):\n    seen.append(1)", "n0000", "frozen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Find(script(t, tt.source))
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := p.(*Script); ok {
				s.time = time.Minute // the limit of steps is to be met first, however slow the machine
			}
			c, err := fleet(3).Place(p, need)
			if err != nil || c.Node != tt.want {
				t.Errorf("placed on %q, %v; want %s", c.Node, err, tt.want)
			}
			if failed := c.Failure != ""; failed != (tt.fails != "") || !strings.Contains(c.Failure, tt.fails) {
				t.Errorf("failure = %q, want %q", c.Failure, tt.fails)
			}
			if want := map[bool]string{true: "spread", false: "site.star"}[tt.fails != ""]; c.Policy != want {
				t.Errorf("policy = %s, want %s", c.Policy, want)
			}
		})
	}
}

func TestScriptRefuses(t *testing.T) {
	p, err := Find(script(t, "def place(need, nodes):\n    return None"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet(3).Place(p, need); cloud.FaultCode(err) != "InsufficientInstanceCapacity" {
		t.Errorf("err = %v", err)
	}
}

func TestBadScripts(t *testing.T) {
	for name, source := range map[string]string{
		"no function":       "x = 1",
		"other function":    "def place(need):\n    return None",
		"syntax":            "def place(",
		"loads":             "load('other.star', 'x')\ndef place(need, nodes):\n    return x",
		"loops at its head": "x = [i for i in range(1000 * 1000 * 1000)]",
		"large":             "#" + strings.Repeat("x", maxSource),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Find(script(t, source)); err == nil {
				t.Error("no error")
			}
		})
	}
	if _, err := Find(filepath.Join(t.TempDir(), "none.star")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Find("fair"); err == nil || !strings.Contains(err.Error(), "powersave") {
		t.Errorf("no such policy: %v", err)
	}
}

func TestScriptThatTakesTooLong(t *testing.T) {
	p, err := Load(script(t, "def place(need, nodes):\n    for i in range(1000 * 1000 * 1000):\n        pass"))
	if err != nil {
		t.Fatal(err)
	}
	p.steps, p.time = 1<<40, time.Millisecond
	c, err := fleet(1).Place(p, need)
	if err != nil || !strings.Contains(c.Failure, "longer than 1ms") {
		t.Errorf("failure = %q, %v", c.Failure, err)
	}
}

func TestScriptIsReadAgain(t *testing.T) {
	file := script(t, "def place(need, nodes):\n    return 'n0001'")
	p, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(node, failure string) {
		t.Helper()
		c, err := fleet(3).Place(p, need)
		if err != nil || c.Node != node || !strings.Contains(c.Failure, failure) || failure == "" && c.Failure != "" {
			t.Errorf("placed on %q (%s), %v; want %s", c.Node, c.Failure, err, node)
		}
	}
	expect("n0001", "")
	write(t, file, "def place(need, nodes):\n    return 'n0002' # longer")
	expect("n0002", "")
	write(t, file, "def place(")
	expect("n0000", "site.star:1")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	expect("n0000", "no such file")
	write(t, file, "def place(need, nodes):\n    return 'n0001'")
	expect("n0001", "")
}

func TestEachFailureIsLoggedOnce(t *testing.T) {
	var log strings.Builder
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(was)
	file := script(t, "def place(need, nodes):\n    fail(need.type)")
	p, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []string{"a", "a", "b", "a"} {
		if _, err := fleet(1).Place(p, cloud.Need{Type: typ}); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 2 {
		t.Errorf("logged %d times, want 2:\n%s", n, &log)
	}
}

// BenchmarkPlace decides among 1,000 nodes by a script that looks at each.
func BenchmarkPlace(b *testing.B) {
	p, err := Load(script(b, mostFreeDisk))
	if err != nil {
		b.Fatal(err)
	}
	f := fleet(1000)
	b.ReportAllocs()
	for b.Loop() {
		c, err := f.Place(p, need)
		if err != nil || c.Failure != "" {
			b.Fatal(err, c.Failure)
		}
		c.Explain()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}
