package fabric_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"eucad/net/fabric"
)

// TestRestart has one connection live through the end of one Fabric and the
// beginning of another.
func TestRestart(t *testing.T) {
	needHost(t)
	f := newFabric(t, fabric.Options{})
	r := vpc("vpc-1", port(1, 10), port(1, 11))
	r.Ports[0].Public = ip("198.51.100.10")
	apply(t, f, r)
	a := boot(t, f, r.Ports[0]).static(subnetA)
	b := boot(t, f, r.Ports[1]).static(subnetA)
	a.echo()
	var conns []net.Conn
	for _, dial := range []func() (net.Conn, error){
		func() (net.Conn, error) { return b.dial("10.0.0.10:80", patience) },
		func() (net.Conn, error) { return net.DialTimeout("tcp", "198.51.100.10:80", patience) },
	} {
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	before := run(t, listLinks+"; ip route; ip netns exec eucad-vpc-1 sh -c '"+listLinks+"; ip route; ip -4 addr show dev lo'")
	alive := func(when string) {
		for i, c := range conns {
			c.SetDeadline(time.Now().Add(2 * time.Second))
			buf := make([]byte, 5)
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Errorf("%s: connection %d: %v", when, i, err)
			} else if _, err := c.Read(buf); err != nil || string(buf) != "hello" {
				t.Errorf("%s: connection %d: %q, %v", when, i, buf, err)
			}
		}
	}
	alive("before")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	alive("without eucad")
	g := newFabric(t, fabric.Options{})
	alive("before Apply")
	apply(t, g, r)
	alive("after Apply")
	if after := run(t, listLinks+"; ip route; ip netns exec eucad-vpc-1 sh -c '"+listLinks+"; ip route; ip -4 addr show dev lo'"); after != before {
		t.Errorf("the network changed:\n%s\nwas\n%s", after, before)
	}
	// And what was revoked meanwhile is.
	r.Groups[0].Ingress = nil
	apply(t, g, r)
	b.blocked("10.0.0.10:80")
}

// TestHandover gives the addresses of one guest to another, in the middle of
// connections of the first.
func TestHandover(t *testing.T) {
	needHost(t)
	f := newFabric(t, fabric.Options{})
	r := vpc("vpc-1", port(1, 10), port(1, 11))
	r.Ports[0].Public = ip("198.51.100.10")
	apply(t, f, r)
	a := boot(t, f, r.Ports[0]).static(subnetA)
	b := boot(t, f, r.Ports[1]).static(subnetA)
	a.echo()
	private, err := b.dial("10.0.0.10:80", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer private.Close()
	public, err := net.DialTimeout("tcp", "198.51.100.10:80", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer public.Close()
	tracked := func() string {
		return run(t, "ip netns exec eucad-vpc-1 cat /proc/net/nf_conntrack | grep -c ESTABLISHED || true")
	}
	if got := tracked(); got != "2" {
		t.Skipf("the kernel shows %s tracked connections, not 2", got)
	}
	r.Ports[0].Public, r.Ports[1].Public = netip.Addr{}, r.Ports[0].Public
	apply(t, f, r)
	if got := tracked(); got != "1" {
		t.Errorf("%s connections are tracked when the public address is another's, want 1", got)
	}
	r.Ports = r.Ports[1:]
	apply(t, f, r)
	if got := tracked(); got != "0" {
		t.Errorf("%s connections are tracked when the private address is free, want 0", got)
	}
}

// listLinks lists devices without their operational state, which may follow
// seconds later (linux/net/core/link_watch.c).
const listLinks = `ip -o link | sed "s/<[^>]*>//; s/ state [A-Z]*//"`

// TestTwice looks for any change that an Apply of the same makes.
func TestTwice(t *testing.T) {
	needHost(t)
	f := newFabric(t, fabric.Options{})
	r := vpc("vpc-1", port(1, 10), port(1, 11))
	r.Ports[0].Public = ip("198.51.100.10")
	apply(t, f, r)
	boot(t, f, r.Ports[0])
	apply(t, f, r)
	monitors := []*monitor{
		startMonitor(t, "", "nft monitor", nftMark), startMonitor(t, "", "ip monitor link address route", ipMark),
		startMonitor(t, "ip netns exec eucad-vpc-1 ", "nft monitor", nftMark), startMonitor(t, "ip netns exec eucad-vpc-1 ", "ip monitor link address route", ipMark),
	}
	for range 3 {
		apply(t, f, r)
	}
	if err := f.Plug(t.Context(), r.Ports[0].ID); err != nil {
		t.Error(err)
	}
	for _, m := range monitors {
		if got := m.changes(); len(got) > 0 {
			t.Errorf("%s: applying the same again changed:\n%s", m.name, strings.Join(got, "\n"))
		}
	}
	r.Groups[0].Ingress[0].To = 99
	apply(t, f, r)
	if len(monitors[2].changes()) == 0 {
		t.Error("the monitors missed a change")
	}
}

// A monitor is a command that prints what changes in the kernel, in order. Marks
// show how far it is.
type monitor struct {
	t        *testing.T
	name, in string
	mark     func(n int) (make, remove, seen string)
	marks    int
	log      string
	from     int // of log, what was not looked at yet
}

// nftMark and ipMark make something, and remove it, that a monitor tells of
// with the text seen when it is gone.
func nftMark(n int) (make, remove, seen string) {
	return fmt.Sprintf("nft add table ip mark%d", n), fmt.Sprintf("nft delete table ip mark%d", n), fmt.Sprintf("delete table ip mark%d\n", n)
}

func ipMark(n int) (make, remove, seen string) {
	a := fmt.Sprintf("127.77.0.%d/32", n)
	return "ip address add " + a + " dev lo", "ip address delete " + a + " dev lo", "Deleted local " + strings.TrimSuffix(a, "/32")
}

// startMonitor returns when the monitor listens.
func startMonitor(t *testing.T, in, what string, mark func(int) (string, string, string)) *monitor {
	m := &monitor{t: t, name: in + what, in: in, mark: mark, log: filepath.Join(t.TempDir(), "changes")}
	out, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("sh", "-c", "exec "+in+what)
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	m.changes()
	return m
}

// changes returns what the monitor has told since it was last asked, but for
// what our marks made it say.
func (m *monitor) changes() (out []string) {
	m.t.Helper()
	var text string
	for deadline := time.Now().Add(30 * time.Second); ; {
		m.marks++
		add, remove, seen := m.mark(m.marks)
		run(m.t, m.in+add)
		run(m.t, m.in+remove)
		time.Sleep(20 * time.Millisecond)
		b, err := os.ReadFile(m.log)
		if err != nil {
			m.t.Fatal(err)
		}
		if text = string(b); strings.Contains(text, seen) {
			break
		}
		if time.Now().After(deadline) || m.marks == 250 {
			m.t.Fatalf("%s does not tell of changes", m.name)
		}
	}
	whole := strings.LastIndex(text, "\n") + 1 // the last line may be on its way
	lines := strings.Split(text[m.from:whole], "\n")
	m.from = whole
	for _, l := range lines {
		ours := strings.Contains(l, "127.77.0.") || strings.Contains(l, "table ip mark") || strings.HasSuffix(l, "(nft)") || strings.Contains(l, "valid_lft")
		if l != "" && !ours {
			out = append(out, l)
		}
	}
	return out
}

// TestNothingLeft removes everything, also what no process remembers, and
// nothing of others'.
func TestNothingLeft(t *testing.T) {
	needHost(t)
	run(t, "ip link add eth8 type veth peer name far8 && ip link set eth8 up && ip neigh add proxy 198.51.100.77 dev eth8")
	t.Cleanup(func() { run(t, "ip link del eth8") })
	for _, restart := range []bool{false, true} {
		before := everything(t)
		f := newFabric(t, fabric.Options{PublicInterface: "eth8"})
		r := vpc("vpc-1", port(1, 10), port(1, 11), port(1, 12))
		r.Ports[0].Public = ip("198.51.100.10")
		apply(t, f, r, vpc("vpc-2", port(2, 10)))
		if got := run(t, "ip neigh show proxy 198.51.100.10"); got == "" {
			t.Error("the public address is nobody's on its network")
		}
		boot(t, f, r.Ports[0])
		if err := f.OpenPort(t.Context(), r.Ports[1]); err != nil {
			t.Fatal(err)
		}
		if restart {
			f.Close()
			if err := fabric.Remove(t.Context(), fabric.Options{}); err != nil {
				t.Fatal(err)
			}
			if got := run(t, "nft list tables"); got != "" {
				t.Errorf("tables left: %s", got)
			}
		} else {
			apply(t, f)
		}
		if after := everything(t); after != before {
			t.Errorf("left after restart=%v:\n%s\nbefore:\n%s", restart, after, before)
		}
	}
}

func everything(t *testing.T) string {
	return run(t, "ip -br link | sed 's/@.*//; s/ .*//' | sort; ip -br addr; ip route; ip netns list; ip neigh show proxy; ls /run/netns")
}
