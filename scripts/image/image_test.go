// Package image tests the guests that the scripts in this folder make, by
// booting them under plain, emulated QEMU with its user network.
package image

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const gib = 1 << 30

// patience bounds every wait. The tiny guest needs seconds, Debian with its
// cloud-init about a minute when emulated, a busy machine more.
const patience = 5 * time.Minute

// need skips the test when what it takes to build and boot a guest isn't here.
func need(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building guests needs root")
	}
	for _, tool := range []string{"qemu-system-x86_64", "qemu-img", "syslinux", "mcopy", "busybox", "apt-get"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
}

// build runs one of the scripts; its arguments name the files it makes.
func build(t *testing.T, script string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), script, args...).CombinedOutput()
	if bytes.Contains(out, []byte("apt knows no")) || bytes.Contains(out, []byte("cannot download")) {
		t.Skipf("no Debian packages to be had: %s", out)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", script, strings.Join(args, " "), err, out)
	}
}

// A life of a tiny guest on a disk larger than its image: first boot, reboot,
// the power button, power-on again.
func TestTinyDisk(t *testing.T) {
	need(t)
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	build(t, "./tiny", disk)
	if fi, err := os.Stat(disk); err != nil || fi.Size() > 40<<20 {
		t.Fatalf("image: %v, %d bytes; want at most 40 MiB", err, fi.Size())
	}
	if out, err := exec.Command("qemu-img", "resize", "-q", disk, fmt.Sprint(3*gib)).CombinedOutput(); err != nil {
		t.Fatalf("resize: %v %s", err, out)
	}
	s := newService(t)
	args := []string{
		"-drive", "file=" + disk + ",format=qcow2,if=none,id=root,cache=unsafe", "-device", "virtio-blk-pci,drive=root,serial=vol0123456789abcdef0",
		"-blockdev", "driver=null-co,size=1048576,read-zeroes=on,node-name=extra", "-device", "virtio-blk-pci,drive=extra,serial=vol0abc",
	}

	g := boot(t, s, args...)
	t.Logf("SSH banner after %v", g.banner())
	g.says("eucad-tiny: ready instance=i-0123456789abcdef0 hostname=ip-169-254-2-15 address=169.254.2.15", 1)
	g.says("eucad-tiny: disk vdb 1048576 vol0abc", 1)
	g.says("eucad-tiny: user-data done", 1)
	hostkey := g.run("cat /etc/dropbear/ed25519.txt")
	if got := g.run("readlink -f /dev/disk/by-id/virtio-vol0abc; hostname"); got != "/dev/vdb\nip-169-254-2-15" {
		t.Errorf("disk and host name = %q", got)
	}
	var blocks, size int64
	if fmt.Sscan(g.run("stat -f -c '%b %S' /"), &blocks, &size); blocks*size < 2*gib+gib/2 {
		t.Errorf("root file system has %d bytes on a disk of 3 GiB", blocks*size)
	}
	g.run("echo kept >/root/kept; reboot")
	g.client = nil

	// The listener answers from the moment QEMU forwards it, the old dropbear
	// until it is killed: wait for the second greeting on the serial port.
	g.says("eucad-tiny: ready", 2)
	if got := g.run("cat /root/kept /root/ran /etc/dropbear/ed25519.txt"); got != "kept\nran\n"+hostkey {
		t.Errorf("after reboot: %q", got)
	}
	g.command("system_powerdown")
	t.Logf("off %v after the power button", g.gone())
	g.says("eucad-tiny: going down (poweroff)", 1)

	// The same disk as another instance's: the new key and user data count.
	s.instance("i-0fedcba9876543210")
	g = boot(t, s, args...)
	t.Logf("SSH banner after %v on the second start", g.banner())
	g.says("eucad-tiny: user-data done", 1)
	if got := g.run("cat /root/ran; imds meta-data/instance-id; imds nothing || echo none"); got != "ran\nran\ni-0fedcba9876543210none" {
		t.Errorf("as another instance: %q", got)
	}
	g.run("poweroff")
	g.gone()
}

// A kernel and ramdisk booted directly (AKI and ARI) find the root file system
// on a disk that has no partition table.
func TestTinyKernel(t *testing.T) {
	need(t)
	dir := t.TempDir()
	build(t, "./tiny", "--root", filepath.Join(dir, "root.ext4"), "--kernel", dir)
	s := newService(t)
	g := boot(t, s,
		"-kernel", filepath.Join(dir, "vmlinuz"), "-initrd", filepath.Join(dir, "initrd"),
		"-append", "console=ttyS0 root=/dev/vda1",
		"-drive", "file="+filepath.Join(dir, "root.ext4")+",format=raw,if=virtio,cache=unsafe")
	t.Logf("SSH banner after %v", g.banner())
	if got := g.run("grep -c ' / ext4' /proc/mounts"); got != "1" {
		t.Errorf("root file systems = %s, want 1", got)
	}
	g.run("poweroff")
	g.gone()
}

// Stock cloud-init takes the machine for EC2's, and does what the metadata says.
func TestDebian(t *testing.T) {
	if os.Getenv("EUCAD_SLOW") == "" {
		t.Skip("takes minutes: set EUCAD_SLOW=1, or run scripts/test --slow")
	}
	need(t)
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("mmdebstrap is not installed")
	}
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	build(t, "./debian", disk)
	if out, err := exec.Command("qemu-img", "resize", "-q", disk, fmt.Sprint(8*gib)).CombinedOutput(); err != nil {
		t.Fatalf("resize: %v %s", err, out)
	}
	g := boot(t, newService(t), "-drive", "file="+disk+",format=qcow2,if=virtio,cache=unsafe")
	t.Logf("SSH banner after %v", g.banner())
	g.user = "debian"
	g.says("-----END SSH HOST KEY KEYS-----", 1)
	for command, want := range map[string]string{
		"cloud-init status --wait | tail -n 1": "status: done",
		"cloud-id":                             "aws",
		"cloud-init query instance_id":         "i-0123456789abcdef0",
		"cloud-init query region":              "us-east-1",
		"hostname":                             "ip-169-254-2-15",
		"sudo cat /root/ran":                   "ran",
		"test $(df --output=size -B1G / | tail -n 1) -ge 7": "",
		"systemctl --failed --quiet":                        "",
	} {
		if got := g.run(command); !strings.HasSuffix(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if t.Failed() {
		t.Logf("cloud-init: %s", g.run("sudo grep -hE 'WARN|ERROR|rror:' /var/log/cloud-init*.log; systemctl status --no-pager --failed; true"))
	}
	g.command("system_powerdown")
	t.Logf("off %v after the power button", g.gone())
}
