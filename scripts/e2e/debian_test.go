package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A real Debian with systemd and stock cloud-init takes eucad for EC2.
func TestDebian(t *testing.T) {
	if os.Getenv("EUCAD_SLOW") == "" {
		t.Skip("takes minutes: set EUCAD_SLOW=1, or run scripts/test --slow")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("mmdebstrap is not installed")
	}
	h := newHost(t)
	disk := filepath.Join(h.Dir, "debian.qcow2")
	if out, err := exec.Command("../image/debian", "--build", "../../build/image", disk).CombinedOutput(); err != nil {
		t.Fatalf("build the Debian guest: %v\n%s", err, out)
	}
	image := h.ok(h.eucad, "image", "import", "--dir", h.dir, "--name", "debian-12", disk)
	key, group := h.access(h.Dir)
	id := h.ec2("run-instances", "--image-id", image, "--instance-type", "t3.small", "--key-name", "mine", "--security-group-ids", group,
		"--metadata-options", "HttpTokens=required", "--block-device-mappings", "DeviceName=/dev/sda1,Ebs={VolumeSize=8}",
		"--user-data", "#cloud-config\nwrite_files:\n- path: /root/made\n  content: by cloud-init\nruncmd:\n- [sh, -c, 'echo ran >/root/ran']\n",
		"--query", "Instances[0].InstanceId")
	h.ec2("wait", "instance-running", "--instance-ids", id)
	g := h.guest(id, key)
	sh := func(command string) (string, error) {
		return g.from.try("ssh", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20", "debian@"+g.public, command)
	}
	for end := time.Now().Add(10 * time.Minute); ; time.Sleep(time.Second) {
		out, err := sh("cloud-init status --wait | tail -n 1")
		if err == nil {
			if out != "status: done" {
				t.Errorf("cloud-init ended with %q", out)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("cloud-init is not done: %v %s\n%s", err, out, h.ec2("get-console-output", "--instance-id", id, "--query", "Output"))
		}
	}
	for command, want := range map[string]string{
		"cloud-id":                                          "aws",
		"cloud-init query instance_id":                      id,
		"cloud-init query region":                           "eucad-1",
		"hostname":                                          "ip-" + strings.ReplaceAll(g.private, ".", "-"),
		"sudo cat /root/made /root/ran":                     "by cloud-initran",
		"cat /sys/class/dmi/id/sys_vendor":                  "Amazon EC2",
		"sudo cut -c1-3 /sys/class/dmi/id/product_uuid":     "ec2",
		"test $(df --output=size -B1G / | tail -n 1) -ge 7": "",
		"systemctl --failed --quiet":                        "",
	} {
		if got, err := sh(command); err != nil || got != want {
			t.Errorf("%s: %v %q, want %q", command, err, got, want)
		}
	}
	if out, err := sh("getent hosts " + "ip-" + strings.ReplaceAll(g.private, ".", "-") + ".eucad-1.compute.internal"); err != nil || !strings.Contains(out, g.private) {
		t.Errorf("its own name by DNS: %v %q", err, out)
	}
	h.ec2("stop-instances", "--instance-ids", id)
	h.eventually("it obeys the power button", func() error {
		if got := h.ec2("describe-instances", "--instance-ids", id, "--query", "Reservations[0].Instances[0].State.Name"); got != "stopped" {
			return errors.New(got)
		}
		return nil
	})
	h.terminate(id)
	h.clean()
}
