package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The first day of a cloud, by AWS's command line and SSH.
func TestAWS(t *testing.T) {
	h := newHost(t)
	image := h.ok(h.eucad, "image", "import", "--dir", h.dir, "--name", "tiny", h.tiny)
	key, group := h.access(h.Dir)

	script := "#!/bin/sh\necho from user data >/root/made\necho user data speaks\n"
	run := func(name string, more ...string) string {
		return h.ec2(append([]string{"run-instances", "--image-id", image, "--instance-type", "t2.nano", "--key-name", "mine", "--security-group-ids", group,
			"--user-data", script, "--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=" + name + "}]",
			"--query", "Instances[0].InstanceId"}, more...)...)
	}
	one := run("one", "--metadata-options", "HttpTokens=required", "--client-token", "token-1")
	if again := run("one", "--metadata-options", "HttpTokens=required", "--client-token", "token-1"); again != one {
		t.Errorf("the same client token made %s after %s", again, one)
	}
	two := run("two")
	h.ec2("wait", "instance-running", "--instance-ids", one, two)
	a, b := h.guest(one, key), h.guest(two, key)
	a.up()
	b.up()

	t.Run("SSH", func(t *testing.T) {
		if got := a.sh("cat /root/made; hostname"); got != "from user data\nip-"+strings.ReplaceAll(a.private, ".", "-") {
			t.Errorf("guest says %q", got)
		}
		// By its private address, through the other one.
		out, err := b.ssh(b.private, "hostname", "-o", fmt.Sprintf("ProxyCommand=ssh -i %s -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@%s nc %s 22", key, a.public, b.private))
		if err != nil || !strings.HasPrefix(out, "ip-") {
			t.Errorf("SSH by the private address: %v %q", err, out)
		}
	})
	t.Run("console and tags", func(t *testing.T) {
		h.eventually("console", func() error {
			text := h.ec2("get-console-output", "--instance-id", one, "--query", "Output")
			if !strings.Contains(text, "eucad-tiny: ready instance="+one) || !strings.Contains(text, "user data speaks") {
				return errors.New(text)
			}
			return nil
		})
		if got := h.ec2("describe-instances", "--filters", "Name=tag:Name,Values=t*", "--query", "Reservations[].Instances[].InstanceId"); got != two {
			t.Errorf("instances by tag: %q, want %s", got, two)
		}
	})
	t.Run("metadata", func(t *testing.T) {
		if got := a.sh("imds meta-data/instance-id; echo; imds meta-data/public-ipv4"); got != one+"\n"+a.public {
			t.Errorf("metadata says %q", got)
		}
		if got := a.sh("wget -q -O- -S http://169.254.169.254/latest/meta-data/ 2>&1 || true"); !strings.Contains(got, "401") {
			t.Errorf("version 1, though tokens are required: %q", got)
		}
		if got := b.sh("wget -q -O- http://169.254.169.254/latest/user-data"); got != strings.TrimSpace(script) {
			t.Errorf("user data by version 1: %q", got)
		}
	})
	t.Run("security groups", func(t *testing.T) {
		ping := func() error {
			_, err := a.ssh(a.public, "ping -c 1 -W 1 "+b.private+" >/dev/null")
			return err
		}
		if ping() == nil {
			t.Error("ping passes without a rule")
		}
		h.letPing(group)
		h.eventually("ping among members", ping)
		if _, err := h.try("ping", "-c", "1", "-W", "1", b.public); err == nil {
			t.Error("ping passes from outside the group")
		}
		h.ec2("revoke-security-group-ingress", "--group-id", group, "--ip-permissions", "IpProtocol=icmp,FromPort=-1,ToPort=-1,UserIdGroupPairs=[{GroupId="+group+"}]")
		h.eventually("no ping after the rule went", func() error {
			if ping() == nil {
				return errors.New("still passes")
			}
			return nil
		})
	})
	t.Run("restart in the middle", func(t *testing.T) {
		boot := a.sh("cat /proc/sys/kernel/random/boot_id")
		three := run("three")
		h.stop(syscall.SIGKILL)
		if got := a.sh("cat /proc/sys/kernel/random/boot_id"); got != boot { // SSH goes on without eucad
			t.Errorf("boot id %s, was %s", got, boot)
		}
		h.start()
		h.ec2("wait", "instance-running", "--instance-ids", three)
		c := h.guest(three, key)
		c.up()
		if got := a.sh("cat /proc/sys/kernel/random/boot_id; imds meta-data/instance-id"); got != boot+"\n"+one {
			t.Errorf("after the restart: %s", got)
		}
		h.ec2("terminate-instances", "--instance-ids", three)
		h.stop(syscall.SIGKILL)
		h.start()
		h.ec2("wait", "instance-terminated", "--instance-ids", three)
	})
	t.Run("elastic address", func(t *testing.T) {
		f := strings.Fields(h.ec2("allocate-address", "--query", "[AllocationId,PublicIp]"))
		h.ec2("associate-address", "--allocation-id", f[0], "--instance-id", two)
		b = h.guest(two, key)
		if b.public != f[1] {
			t.Fatalf("public address %s, want %s", b.public, f[1])
		}
		b.up()
	})
	t.Run("stop and start", func(t *testing.T) {
		b.sh("echo kept >/root/kept; sync")
		h.ec2("stop-instances", "--instance-ids", one, two)
		h.ec2("wait", "instance-stopped", "--instance-ids", one, two)
		h.ec2("start-instances", "--instance-ids", two)
		h.ec2("wait", "instance-running", "--instance-ids", two)
		was := b
		if b = h.guest(two, key); b.private != was.private || b.public != was.public {
			t.Errorf("addresses %s %s, were %s %s", b.public, b.private, was.public, was.private)
		}
		b.up()
		if got := b.sh("cat /root/kept; cat /root/made"); got != "kept\nfrom user data" {
			t.Errorf("disk has %q", got)
		}
	})
	t.Run("reboot", func(t *testing.T) {
		boot := b.sh("cat /proc/sys/kernel/random/boot_id")
		h.ec2("reboot-instances", "--instance-ids", two)
		h.eventually("another boot", func() error {
			if got, err := b.ssh(b.public, "cat /proc/sys/kernel/random/boot_id"); err != nil || got == boot {
				return fmt.Errorf("%s %w", got, err)
			}
			return nil
		})
	})
	t.Run("the guest shuts down", func(t *testing.T) {
		h.ec2("modify-instance-attribute", "--instance-id", two, "--instance-initiated-shutdown-behavior", "terminate")
		b.ssh(b.public, "poweroff")
		h.ec2("wait", "instance-terminated", "--instance-ids", two)
		if got := h.ec2("describe-instances", "--instance-ids", two, "--query", "Reservations[0].Instances[0].StateReason.Code"); got != "Client.InstanceInitiatedShutdown" {
			t.Errorf("reason %s", got)
		}
	})
	t.Run("errors", func(t *testing.T) {
		h.ec2Fails("InvalidInstanceID.NotFound", "describe-instances", "--instance-ids", "i-00000000000000000")
		h.ec2Fails("InvalidInstanceID.Malformed", "describe-instances", "--instance-ids", "i-x")
		h.ec2Fails("DryRunOperation", "run-instances", "--image-id", image, "--dry-run")
		h.ec2Fails("InsufficientInstanceCapacity", "run-instances", "--image-id", image, "--instance-type", "r5.24xlarge")
		h.ec2Fails("UnsupportedOperation", "run-instances", "--image-id", image, "--user-data", base64.StdEncoding.EncodeToString(nil), "--instance-market-options", "MarketType=spot")
	})
	h.terminate(one)
	h.ec2("release-address", "--allocation-id", h.ec2("describe-addresses", "--query", "Addresses[0].AllocationId"))
	h.clean()
}

// clean checks that nothing of instances is left on the machine.
func (h *host) clean() {
	h.t.Helper()
	h.eventually("nothing is left", func() error {
		var left []string
		add := func(what, out string) {
			if out = strings.TrimSpace(out); out != "" {
				left = append(left, what+": "+out)
			}
		}
		add("namespaces", h.ok("ip", "netns"))
		for line := range strings.Lines(h.ok("ip", "-br", "link")) {
			if !strings.HasPrefix(line, "lo ") {
				add("device", line)
			}
		}
		add("routes", h.ok("ip", "route"))
		add("domains", h.ok("virsh", "-q", "list", "--all"))
		files, _ := os.ReadDir(filepath.Join(h.dir, "node/machines"))
		for _, f := range files {
			add("file", f.Name())
		}
		add("volumes", h.ec2("describe-volumes", "--query", "Volumes[].VolumeId"))
		add("interfaces", h.ec2("describe-network-interfaces", "--query", "NetworkInterfaces[].NetworkInterfaceId"))
		add("addresses", h.ec2("describe-addresses", "--query", "Addresses[].PublicIp"))
		if len(left) > 0 {
			return errors.New(strings.Join(left, "\n"))
		}
		return nil
	})
}
