package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The lab's cables and hosts are as bad as they are said to be.
func TestLab(t *testing.T) {
	t.Parallel()
	l := newLab(t, `
host outside - lan=10.1.0.1/24
host a - lan=10.1.0.2/24
host b - lan=10.1.0.3/24
`)
	outside := l.host("outside")
	ping := func(count int) (received int, best float64) {
		out, _ := outside.try("ping", "-q", "-c", strconv.Itoa(count), "-i", "0.01", "-W", "2", "10.1.0.2")
		if m := regexp.MustCompile(`(\d+) received`).FindStringSubmatch(out); m != nil {
			received, _ = strconv.Atoi(m[1])
		}
		if m := regexp.MustCompile(`= ([\d.]+)/`).FindStringSubmatch(out); m != nil {
			best, _ = strconv.ParseFloat(m[1], 64)
		}
		return received, best
	}
	reached := func(when string) {
		t.Helper()
		// What is sent while the kernel asks for an address that was not there yet is lost.
		outside.eventually("packets come back "+when, func() error {
			if got, _ := ping(2); got != 2 {
				return fmt.Errorf("%d of 2", got)
			}
			return nil
		})
	}
	unreached := func(when string) {
		t.Helper()
		if got, _ := ping(2); got != 0 {
			t.Errorf("%s, %d of 2 packets come back", when, got)
		}
	}
	reached("at first")
	l.do("cut", "a")
	unreached("when the cable is cut")
	l.do("mend", "a")
	reached("when it is mended")
	l.do("delay", "a", "lan", "100")
	if _, best := ping(3); best < 200 {
		t.Errorf("a packet took %v ms there and back over a cable of 100 ms", best)
	}
	l.do("lossy", "a", "lan", "50")
	if got, best := ping(100); got == 0 || got > 75 || best < 200 {
		t.Errorf("of 100 packets %d came back over a cable that loses every other one", got)
	}
	if out, err := l.try("list"); err != nil || !strings.Contains(out, "100 ms loses 50 %") {
		t.Errorf("list: %v\n%s", err, out)
	}
	l.do("mend", "a", "lan")
	if got, _ := ping(100); got != 100 {
		t.Errorf("of 100 packets %d came back over a mended cable", got)
	}

	id := l.host("a").ok("cat", "/proc/sys/kernel/random/boot_id")
	l.host("a").ok("touch", "/run/eucad/kept", "/run/lost")
	l.do("crash", "a")
	unreached("when the host is down")
	if _, err := l.host("a").try("true"); err == nil {
		t.Error("a command runs on a host that is down")
	}
	l.do("boot", "a")
	reached("when it is up again")
	if again := l.host("a").ok("sh", "-c", "ls /run/eucad; ls /run/lost 2>&1; cat /proc/sys/kernel/random/boot_id"); !strings.HasPrefix(again, "kept\n") || strings.Contains(again, "\n/run/lost\n") || strings.Contains(again, id) {
		t.Errorf("after a crash: %s", again)
	}

	process := func(host string) string {
		b, err := os.ReadFile(filepath.Join(l.dir, "lab/hosts", host, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		return "/proc/" + strings.Fields(string(b))[0]
	}
	gone := func(file string) error {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is there: %w", file, err)
		}
		return nil
	}
	a := process("a")
	l.do("crash", "a")
	if err := gone(a); err != nil {
		t.Error(err)
	}
	b := process("b")
	l.life.Close()
	outside.eventually("hosts end with their owner", func() error { return gone(b) })
	l.do("down")
	if err := gone(filepath.Join(l.dir, "lab")); err != nil {
		t.Error(err)
	}
}

// A simCloud is a lab of two zones, and instances that are to outlive its faults.
type simCloud struct {
	*lab
	*machine // the front end
	image    string
	ids      []string
}

func newSimCloud(t *testing.T) *simCloud {
	l := newLab(t, "sim")
	c := &simCloud{lab: l, machine: l.front("front")}
	c.image = simImage(c.machine)
	c.launch("az1")
	c.launch("az2")
	return c
}

// launch runs one more instance.
func (c *simCloud) launch(zone string) (node string) {
	c.machine.t.Helper()
	id := c.ec2("run-instances", "--image-id", c.image, "--instance-type", "t2.nano", "--placement", "AvailabilityZone="+zone, "--query", "Instances[0].InstanceId")
	c.ids = append(c.ids, id)
	c.ec2("wait", "instance-running", "--instance-ids", id)
	return nodeOf(c.machine, id)
}

// lost waits until the cloud has noticed that nodes are gone, and no others.
func (c *simCloud) lost(nodes ...string) {
	c.machine.t.Helper()
	c.eventually("nodes are lost", func() error {
		out, err := c.machine.try("sh", "-c", "eucad node list | awk '/ lost$/ {print $1}'")
		if err != nil || !slices.Equal(strings.Fields(out), nodes) {
			return fmt.Errorf("lost are %q: %w", out, err)
		}
		return nil
	})
}

// well waits until all is as it was, and launches in the zone where it was not.
func (c *simCloud) well(zone string) {
	c.machine.t.Helper()
	c.eventually("all nodes are in service", inService(c.machine, "n1a", "n1b", "n2a", "n2b"))
	c.launch(zone)
	c.eventually("all instances run", func() error {
		got := c.ec2("describe-instance-status", "--query", "InstanceStatuses[].[InstanceState.Name,SystemStatus.Status]")
		if n := strings.Count(got, "running\tok"); n != len(c.ids) {
			return fmt.Errorf("%d of %d: %s", n, len(c.ids), got)
		}
		return nil
	})
}

// Cables are cut, slow and bad: what can goes on, and all is well afterwards.
func TestCables(t *testing.T) {
	t.Parallel()
	c := newSimCloud(t)

	c.do("cut", "n1a")
	c.lost("n1a")
	if node := c.launch("az1"); node != "n1b" {
		t.Errorf("an instance was placed on %s while n1a is cut off", node)
	}
	c.do("mend", "n1a")
	c.well("az1")

	c.do("cut", "h1", "wan")
	c.lost("n1a", "n1b")
	c.launch("az2")
	c.do("mend", "h1", "wan")
	c.well("az1")

	for _, cable := range [][]string{{"h2", "wan"}, {"n2a", "az2"}, {"n2b", "az2"}} {
		c.do("delay", cable[0], cable[1], "100")
		c.do("lossy", cable[0], cable[1], "5")
	}
	c.launch("az2")
	for _, host := range []string{"h2", "n2a", "n2b"} {
		c.do("mend", host)
	}
	c.well("az2")
}

// eucad is killed, and hosts crash, one kind after the other and at last all:
// what can goes on, and all is well afterwards.
func TestCrashes(t *testing.T) {
	t.Parallel()
	c := newSimCloud(t)

	c.do("kill", "n1a")
	c.do("crash", "n2a")
	c.lost("n1a", "n2a")
	c.launch("az2")
	c.do("start", "n1a")
	c.do("boot", "n2a")
	c.well("az1")

	c.do("kill", "h1")
	c.do("crash", "h2")
	c.lost("n1a", "n1b", "n2a", "n2b")
	c.do("start", "h1")
	c.do("boot", "h2")
	c.well("az2")

	c.do("kill", "front")
	c.do("start", "front")
	c.well("az1")

	all := []string{"front", "h1", "h2", "n1a", "n1b", "n2a", "n2b"}
	for _, host := range all {
		c.do("crash", host)
	}
	slices.Reverse(all) // what others need comes last
	for _, host := range all {
		c.do("boot", host)
	}
	c.well("az2")
}
