package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A second machine joins the first one's cloud with one token, and takes
// instances. Only the first has the public network; what guests say to each
// other is encrypted between the machines.
func TestSecondHost(t *testing.T) {
	t.Parallel()
	l := newLab(t, "pair")
	h, n := l.front("first"), l.host("second")

	image := h.ok("eucad", "image", "import", "--name", "tiny", l.tiny)
	key, group := h.access(l.dir)
	ids := map[string]string{} // by node
	for range 4 {              // spread over both; which comes first is the policy's business
		id := h.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--key-name", "mine", "--security-group-ids", group, "--query", "Instances[0].InstanceId")
		on := nodeOf(h, id)
		if old := ids[on]; old != "" {
			h.ec2("terminate-instances", "--instance-ids", old)
		}
		if ids[on] = id; len(ids) == 2 {
			break
		}
	}
	if len(ids) != 2 {
		t.Fatalf("all instances are on one node: %v", ids)
	}
	h.ec2("wait", "instance-running", "--instance-ids", ids["first"], ids["second"])
	a, b := h.guest(ids["first"], key), h.guest(ids["second"], key)
	a.up()
	b.up() // by its public address, which the first machine answers for

	if out, err := a.ssh(a.public, "ping -c 1 -W 2 "+b.private); err == nil {
		t.Errorf("ping passes without a rule: %s", out)
	}
	h.letPing(group)
	h.eventually("ping from host to host", func() error {
		out, err := a.ssh(a.public, "ping -c 1 -W 2 "+b.private)
		if err != nil {
			return fmt.Errorf("%w %s", err, out)
		}
		return nil
	})
	for _, m := range []*machine{h, n} {
		if !strings.Contains(m.said(), "guests' packets between hosts are encrypted") {
			t.Errorf("no mesh: %s", m.said())
		}
	}
	if got := b.sh("imds meta-data/instance-id"); got != b.id {
		t.Errorf("metadata on the second host: %s", got)
	}
	h.eventually("console from the second host", func() error {
		text := h.ec2("get-console-output", "--instance-id", b.id, "--query", "Output")
		if !strings.Contains(text, "ready instance="+b.id) {
			return errors.New(text)
		}
		return nil
	})

	// With no front end in reach the node goes on, and starts again by itself.
	boot := b.sh("cat /proc/sys/kernel/random/boot_id")
	l.do("kill", "first")
	l.do("kill", "second")
	l.do("start", "second")
	l.do("start", "first")
	if got := b.sh("cat /proc/sys/kernel/random/boot_id"); got != boot {
		t.Errorf("the guest was disturbed: boot %s, was %s", got, boot)
	}

	// A node that is cut off is noticed, and picked up again.
	l.do("cut", "second")
	h.eventually("the instance of a lost node is impaired", systemStatus(h, b.id, "impaired"))
	l.do("mend", "second")
	h.eventually("and well again", systemStatus(h, b.id, "ok"))

	h.eventually("gossip finds it again, too", func() error {
		if got := h.ok("eucad", "members"); !strings.Contains(got, "second") {
			return errors.New(got)
		}
		return nil
	})
	if got, _ := n.try("eucad", "doctor"); !strings.Contains(got, "well  eucad runs in") || strings.Contains(got, "not in the plan") {
		t.Errorf("doctor:\n%s", got)
	}
	if out, err := h.try("eucad", "node", "remove", "second"); err == nil || !strings.Contains(out, "still has 1 instances") {
		t.Errorf("remove a node in use: %v %s", err, out)
	}
	if got := h.ok("eucad", "node", "drain", "second"); !strings.Contains(got, b.id) {
		t.Errorf("drain:\n%s", got)
	}
	h.terminate(a.id, b.id)
	l.clean("first", "second")

	h.ok("eucad", "node", "remove", "second")
	if got := h.ok("eucad", "node", "list"); strings.Contains(got, "second") {
		t.Errorf("nodes after one was removed:\n%s", got)
	}
	n.eventually("the host is told that it is out", func() error {
		if !strings.Contains(n.said(), "the front end refuses this host") {
			return errors.New(n.said())
		}
		return nil
	})
}
