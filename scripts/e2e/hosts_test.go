package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// cable joins two machines by a network of their own, with the addresses
// 10.77.0.1 and 10.77.0.2.
func cable(t *testing.T, a, b *host) {
	t.Helper()
	out, err := exec.Command("ip", "link", "add", "lan0", "netns", strconv.Itoa(a.Pid()), "type", "veth", "peer", "name", "lan0", "netns", strconv.Itoa(b.Pid())).CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for n, h := range []*host{a, b} {
		h.ok("ip", "addr", "add", fmt.Sprintf("10.77.0.%d/24", n+1), "dev", "lan0")
		h.ok("ip", "link", "set", "lan0", "up")
	}
}

// A second machine joins the first one's cloud with one token, and takes
// instances. Only the first has the public network; what guests say to each
// other is encrypted between the machines.
func TestSecondHost(t *testing.T) {
	h := newMachine(t, "--role", "all", "--peer-listen", "10.77.0.1:8774", "--regime", "head", "--policy", "spread")
	n := newMachine(t, "--role", "node", "--join", "10.77.0.1:8774")
	cable(t, h, n)
	h.start()
	h.credentials()

	// What may not join is told why.
	if out, err := n.try(n.eucad, "--role", "node", "--dir", n.dir, "--join", "10.77.0.1:8774"); err == nil || !strings.Contains(out, "eucad token create") {
		t.Errorf("without a token: %v %s", err, out)
	}
	cluster := h.ok(h.eucad, "token", "create", "--dir", h.dir, "--role", "cluster", "--zone", "eucad-1a")
	if out, err := n.try(n.eucad, "--role", "node", "--dir", n.dir, "--join", "10.77.0.1:8774", "--token", cluster); err == nil || !strings.Contains(out, "cluster") {
		t.Errorf("with another role's token: %v %s", err, out)
	}
	token := h.ok(h.eucad, "token", "create", "--dir", h.dir, "--role", "node", "--zone", "eucad-1a")
	n.ok("sh", "-c", "mkdir -p "+n.dir+" && echo second >"+n.dir+"/name") // both machines have one host name here
	n.flags = append(n.flags, "--token", token)
	n.launch()
	nodes := func() []string {
		return strings.Fields(h.ok("sh", "-c", h.eucad+" node list --dir "+h.dir+" | awk 'NR>1 {print $1}'"))
	}
	h.eventually("the node is in service", func() error {
		if got := nodes(); len(got) != 2 {
			return fmt.Errorf("nodes %v: %s", got, n.log.String())
		}
		return nil
	})

	image := h.ok(h.eucad, "image", "import", "--dir", h.dir, "--name", "tiny", h.tiny)
	key := filepath.Join(h.Dir, "key.pem")
	if err := os.WriteFile(key, []byte(h.ec2("create-key-pair", "--key-name", "mine", "--key-type", "ed25519", "--query", "KeyMaterial")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	group := h.ec2("create-security-group", "--group-name", "ssh", "--description", "SSH", "--query", "GroupId")
	h.ec2("authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "22", "--cidr", "0.0.0.0/0")
	ids := map[string]string{} // by node
	for range 4 {              // spread over both; which comes first is the policy's business
		id := h.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--key-name", "mine", "--security-group-ids", group, "--query", "Instances[0].InstanceId")
		text := h.ok(h.eucad, "explain", "--dir", h.dir, id)
		on := "first"
		if strings.Contains(text, "on node second") {
			on = "second"
		}
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
	h.ec2("authorize-security-group-ingress", "--group-id", group, "--ip-permissions", "IpProtocol=icmp,FromPort=-1,ToPort=-1,UserIdGroupPairs=[{GroupId="+group+"}]")
	h.eventually("ping from host to host", func() error {
		out, err := a.ssh(a.public, "ping -c 1 -W 2 "+b.private)
		if err != nil {
			return fmt.Errorf("%w %s", err, out)
		}
		return nil
	})
	for _, m := range []*host{h, n} {
		if !strings.Contains(m.log.String(), "guests' packets between hosts are encrypted") {
			t.Errorf("no mesh: %s", m.log.String())
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
	h.stop(syscall.SIGKILL)
	n.stop(syscall.SIGKILL)
	n.launch()
	h.start()
	if got := b.sh("cat /proc/sys/kernel/random/boot_id"); got != boot {
		t.Errorf("the guest was disturbed: boot %s, was %s", got, boot)
	}

	// A node that is cut off is noticed, and picked up again.
	n.ok("ip", "link", "set", "lan0", "down")
	status := func(want string) func() error {
		return func() error {
			got := h.ec2("describe-instance-status", "--instance-ids", b.id, "--query", "InstanceStatuses[0].SystemStatus.Status")
			if got != want {
				return errors.New(got)
			}
			return nil
		}
	}
	h.eventually("the instance of a lost node is impaired", status("impaired"))
	n.ok("ip", "link", "set", "lan0", "up")
	h.eventually("and well again", status("ok"))

	h.eventually("gossip finds it again, too", func() error {
		if got := h.ok(h.eucad, "members", "--dir", h.dir); !strings.Contains(got, "second") {
			return errors.New(got)
		}
		return nil
	})
	if got, _ := n.try(n.eucad, "doctor", "--dir", n.dir, "--libvirt", n.Socket); !strings.Contains(got, "well  eucad runs in") || strings.Contains(got, "not in the plan") {
		t.Errorf("doctor:\n%s", got)
	}
	if out, err := h.try(h.eucad, "node", "remove", "--dir", h.dir, "second"); err == nil || !strings.Contains(out, "still has 1 instances") {
		t.Errorf("remove a node in use: %v %s", err, out)
	}
	if got := h.ok(h.eucad, "node", "drain", "--dir", h.dir, "second"); !strings.Contains(got, b.id) {
		t.Errorf("drain:\n%s", got)
	}
	h.ec2("terminate-instances", "--instance-ids", a.id, b.id)
	h.ec2("wait", "instance-terminated", "--instance-ids", a.id, b.id)
	for _, m := range []*host{h, n} {
		m.eventually("nothing is left", func() error {
			if left := m.ok("ip", "netns") + m.ok("virsh", "-q", "list", "--all"); left != "" {
				return errors.New(left)
			}
			return nil
		})
	}

	h.ok(h.eucad, "node", "remove", "--dir", h.dir, "second")
	if got := nodes(); len(got) != 1 {
		t.Errorf("nodes after one was removed: %v", got)
	}
	n.eventually("the host is told that it is out", func() error {
		if !strings.Contains(n.log.String(), "the front end refuses this host") {
			return errors.New(n.log.String())
		}
		return nil
	})
}
