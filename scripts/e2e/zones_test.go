package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// One front end and two zones of two nodes, with private networks of their own
// that have the same addresses: in az1 nodes have the public network, in az2
// only the head. Instances in both reach each other by private, and the outside
// reaches them by public address.
func TestZones(t *testing.T) {
	t.Parallel()
	l := newLab(t, "zones")
	front, outside := l.front("front"), l.host("outside")
	if got := front.ec2("describe-availability-zones", "--query", "AvailabilityZones[].ZoneName"); got != "az1\taz2" {
		t.Errorf("zones %q", got)
	}

	image := front.ok("eucad", "image", "import", "--name", "tiny", l.tiny)
	key, group := front.access(l.dir)
	var ids []string
	for n, zone := range []string{"az1", "az2", "az2"} { // public addresses that no machine has
		id := front.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--key-name", "mine", "--placement", "AvailabilityZone="+zone,
			"--network-interfaces", "DeviceIndex=0,AssociatePublicIpAddress=false,Groups="+group, "--query", "Instances[0].InstanceId")
		address := front.ec2("allocate-address", "--address", fmt.Sprintf("198.18.7.%d", n+1), "--query", "AllocationId")
		front.ec2("associate-address", "--allocation-id", address, "--instance-id", id)
		ids = append(ids, id)
	}
	front.ec2(append([]string{"wait", "instance-running", "--instance-ids"}, ids...)...)
	var guests []guest
	nodes := map[string]bool{}
	for _, id := range ids {
		g := front.guest(id, key)
		g.from = outside
		g.up()
		if got := g.sh("imds meta-data/instance-id"); got != id {
			t.Errorf("metadata of %s: %s", id, got)
		}
		guests = append(guests, g)
		nodes[nodeOf(front, id)] = true
	}
	if len(nodes) != 3 {
		t.Errorf("three instances are on %v", nodes)
	}
	if out, err := guests[0].ssh(guests[0].public, "ping -c 1 -W 2 "+guests[1].private); err == nil {
		t.Errorf("ping from zone to zone passes without a rule: %s", out)
	}
	front.letPing(group)
	between := func() error {
		for n, g := range guests { // 0 to 1 and 2 to 0 from zone to zone, 1 to 2 within one
			to := guests[(n+1)%3].private
			// Full-size segments, which must not be cut: both zones' tunnels carry them.
			if out, err := g.ssh(g.public, "ping -c 1 -W 2 -s 1400 "+to); err != nil {
				return fmt.Errorf("%s to %s: %w %s", g.private, to, err, out)
			}
		}
		return nil
	}
	front.eventually("all reach each other", between)
	front.eventually("console by way of the head", func() error {
		if text := front.ec2("get-console-output", "--instance-id", ids[1], "--query", "Output"); !strings.Contains(text, "ready instance="+ids[1]) {
			return errors.New(text)
		}
		return nil
	})

	// Head and front end go: guests and traffic go on, and they are found again.
	l.do("kill", "h2")
	l.do("kill", "front")
	if err := between(); err != nil {
		t.Errorf("without head and front end: %v", err)
	}
	l.do("start", "h2")
	l.do("start", "front")

	// So is a node that loses its power: it starts its guests again.
	boot := guests[1].sh("cat /proc/sys/kernel/random/boot_id")
	node := nodeOf(front, ids[1])
	l.do("crash", node)
	front.eventually("the instance of a lost node is impaired", systemStatus(front, ids[1], "impaired"))
	l.do("boot", node)
	guests[1].up()
	front.eventually("and well again", systemStatus(front, ids[1], "ok"))
	front.eventually("all reach each other again", between)
	if again := guests[1].sh("cat /proc/sys/kernel/random/boot_id"); again == boot {
		t.Errorf("the guest of a host that crashed never went down: boot %s", boot)
	}

	front.terminate(ids...)
	l.clean("h1", "n1a", "n1b", "h2", "n2a", "n2b")
}

// nodeOf returns the node of an instance.
func nodeOf(front *machine, id string) string {
	front.t.Helper()
	var e struct{ Node string }
	if err := json.Unmarshal([]byte(front.ok("eucad", "explain", id, "--json")), &e); err != nil {
		front.t.Fatal(err)
	}
	return e.Node
}

// systemStatus checks what DescribeInstanceStatus says of an instance's host.
func systemStatus(front *machine, id, want string) func() error {
	return func() error {
		got := front.ec2("describe-instance-status", "--instance-ids", id, "--query", "InstanceStatuses[0].SystemStatus.Status")
		if got != want {
			return errors.New(got)
		}
		return nil
	}
}
