package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// libvirtd that isn't there, goes or comes back holds things up, and no more.
func TestLibvirtGoes(t *testing.T) {
	h := newHost(t)
	image := h.ok(h.eucad, "image", "import", "--dir", h.dir, "--name", "tiny", h.tiny)
	run := func() string {
		return h.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--query", "Instances[0].InstanceId")
	}
	one := run()
	h.ec2("wait", "instance-running", "--instance-ids", one)
	h.Kill(t)
	two := run()
	h.eventually("an operator is told", func() error {
		if n := strings.Count(h.log.String(), "libvirtd can't be reached"); n != 1 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	if got := h.ec2("describe-instances", "--instance-ids", one, two, "--query", "Reservations[].Instances[].State.Name"); got != "running\npending" && got != "running\tpending" {
		t.Errorf("states %q while libvirtd is away", got)
	}
	h.ec2("terminate-instances", "--instance-ids", one)
	h.Start(t)
	h.ec2("wait", "instance-running", "--instance-ids", two)
	h.ec2("wait", "instance-terminated", "--instance-ids", one)

	h.Crash(t, two)
	h.ec2("wait", "instance-stopped", "--instance-ids", two)
	if got := h.ec2("describe-instances", "--instance-ids", two, "--query", "Reservations[0].Instances[0].StateReason.Code"); got != "Server.InternalError" {
		t.Errorf("reason of a crash: %s", got)
	}
	h.terminate(two)
	h.clean()
}

// Kernel and ramdisk images boot a bare file system.
func TestKernelImages(t *testing.T) {
	h := newHost(t)
	for _, args := range [][]string{{"--kernel", h.Dir}, {"--root", filepath.Join(h.Dir, "root.img")}} {
		out, err := exec.Command("../image/tiny", append([]string{"--build", "../../build/image"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tiny %s: %v\n%s", args, err, out)
		}
	}
	imp := func(name, file string, more ...string) string {
		return h.ok(h.eucad, append([]string{"image", "import", "--dir", h.dir, "--name", name, filepath.Join(h.Dir, file)}, more...)...)
	}
	kernel := imp("kernel", "vmlinuz", "--kind", "kernel")
	ramdisk := imp("ramdisk", "initrd", "--kind", "ramdisk")
	image := imp("root", "root.img", "--kernel", kernel, "--ramdisk", ramdisk)
	id := h.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--query", "Instances[0].InstanceId")
	h.eventually("console", func() error {
		text := h.ec2("get-console-output", "--instance-id", id, "--query", "Output")
		if !strings.Contains(text, "eucad-tiny: ready instance="+id) {
			return errors.New(text)
		}
		return nil
	})
	if got := h.ec2("describe-instances", "--instance-ids", id, "--query", "Reservations[0].Instances[0].[KernelId,RamdiskId]"); got != kernel+"\t"+ramdisk {
		t.Errorf("kernel and ramdisk %q", got)
	}
}

// Two accounts have the same private addresses and nothing to do with each
// other. With an account all goes that it owns.
func TestAccounts(t *testing.T) {
	h := newHost(t)
	image := h.ok(h.eucad, "image", "import", "--dir", h.dir, "--name", "tiny", "--public", h.tiny)
	admin := h.env
	var ids []string
	for _, who := range []string{"alice", "bob"} {
		h.ok(h.eucad, "account", "create", "--dir", h.dir, who)
		h.env = nil
		for line := range strings.Lines(h.ok(h.eucad, "credentials", "--account", who, "--env", "--dir", h.dir)) {
			h.env = append(h.env, strings.TrimPrefix(strings.TrimSpace(line), "export "))
		}
		ids = append(ids, h.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--private-ip-address", "172.31.0.10", "--query", "Instances[0].InstanceId"))
		h.ec2("wait", "instance-running", "--instance-ids", ids[len(ids)-1])
	}
	h.ec2Fails("InvalidInstanceID.NotFound", "describe-instances", "--instance-ids", ids[0])
	h.ec2Fails("InvalidInstanceID.NotFound", "terminate-instances", "--instance-ids", ids[0])
	if got := h.ec2("describe-instances", "--query", "Reservations[].Instances[].InstanceId"); got != ids[1] {
		t.Errorf("bob sees %q", got)
	}
	h.ok(h.eucad, "account", "delete", "--dir", h.dir, "bob")
	if out, err := h.try("aws", "--endpoint-url", url, "ec2", "describe-instances"); err == nil || !strings.Contains(out, "AuthFailure") {
		t.Errorf("keys of an account that is gone: %v %s", err, out)
	}
	h.ok(h.eucad, "account", "delete", "--dir", h.dir, "alice")
	h.env = admin
	h.clean()
}

// A full disk: what can't be kept is refused, and all goes on once there is room.
func TestDiskFull(t *testing.T) {
	h := newHost(t)
	image := h.ok(h.eucad, "image", "import", "--dir", h.dir, "--name", "tiny", h.tiny)
	h.stop(15)
	// eucad's directory moves to a file system of its own, in the machine's name space only.
	h.ok("sh", "-ec", fmt.Sprintf("cp -a %[1]s %[1]s.keep; mount -t tmpfs -o size=2500m,mode=711 full %[1]s; cp -a %[1]s.keep/. %[1]s/", h.dir))
	h.start()
	one := h.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--query", "Instances[0].InstanceId")
	h.ec2("wait", "instance-running", "--instance-ids", one)
	h.try("dd", "if=/dev/zero", "of="+h.dir+"/filler", "bs=1M") // until nothing more fits
	refused := func(args ...string) {
		out, err := h.try("aws", append([]string{"--endpoint-url", url, "ec2"}, args...)...)
		if err == nil || !strings.Contains(out, "(Unavailable)") || !strings.Contains(out, "disk space") {
			t.Errorf("aws ec2 %s on a full disk: %v %q", args[0], err, out)
		}
	}
	h.eventually("the store is full", func() error {
		// A write-ahead log may have some room left in it.
		if _, err := h.try("aws", "--endpoint-url", url, "ec2", "create-tags", "--resources", one, "--tags", "Key=k,Value="+strings.Repeat("x", 200)); err == nil {
			return errors.New("still takes writes")
		}
		return nil
	})
	refused("create-tags", "--resources", one, "--tags", "Key=k,Value=v")
	if _, err := h.try(h.eucad, "image", "import", "--dir", h.dir, "--name", "more", h.tiny); err == nil {
		t.Error("an image was imported onto a full disk")
	}
	if got := h.ec2("describe-instances", "--query", "Reservations[].Instances[].State.Name"); got != "running" {
		t.Errorf("state %q", got)
	}
	h.ok("rm", h.dir+"/filler")
	h.ec2("create-tags", "--resources", one, "--tags", "Key=k,Value=v")
	var two string
	h.eventually("a launch fits again", func() (err error) { // the node tells its room once a minute
		two, err = h.try("aws", "--endpoint-url", url, "--output", "text", "ec2", "run-instances", "--image-id", image, "--instance-type", "t2.nano", "--query", "Instances[0].InstanceId")
		if err != nil {
			return fmt.Errorf("%w %s", err, two)
		}
		return nil
	})
	h.ec2("wait", "instance-running", "--instance-ids", two)
	h.terminate(one, two)
	if left := h.ok("sh", "-c", "ls -A "+h.dir+"/node/machines; ls -A "+h.dir+"/images | grep -v "+strings.Split(h.ok("ls", h.dir+"/images"), "\n")[0]+" || true"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// What is no image is refused in a sentence, and leaves nothing.
func TestBadImages(t *testing.T) {
	h := newHost(t)
	write := func(name, command string) string {
		file := filepath.Join(h.Dir, name)
		if out, err := exec.Command("sh", "-ec", strings.ReplaceAll(command, "FILE", file)).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return file
	}
	for _, tt := range []struct{ name, make, says string }{
		{"text", "echo hello, world >FILE", "disk"},
		{"empty", ": >FILE", "empty"},
		{"backed", "qemu-img create -q -f qcow2 FILE.base 1M; qemu-img create -q -f qcow2 -b FILE.base -F qcow2 FILE", "backing file"},
		{"huge", "qemu-img create -q -f qcow2 FILE 60T", "TiB"},
		{"cut", "head -c 3000000 " + h.tiny + " >FILE", ""},
	} {
		out, err := h.try(h.eucad, "image", "import", "--dir", h.dir, "--name", tt.name, write(tt.name, tt.make))
		if err == nil || !strings.Contains(out, tt.says) || strings.Count(out, "\n") > 1 {
			t.Errorf("%s: %v %q", tt.name, err, out)
		}
	}
	if files, _ := os.ReadDir(filepath.Join(h.dir, "images")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	if got := h.ec2("describe-images", "--owners", "self", "--query", "Images[].ImageId"); got != "" {
		t.Errorf("images %s", got)
	}
}
