// Package image tests the guests that the scripts in this folder make, by
// booting them under plain, emulated QEMU with its user network.
package image

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const gib = 1 << 30

// patience bounds every wait; a guest needs seconds, a busy machine more.
const patience = 40 * time.Second

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

// tiny builds the guest with args and returns nothing: the caller named the files.
func tiny(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "./tiny", args...).CombinedOutput()
	if bytes.Contains(out, []byte("apt knows no")) || bytes.Contains(out, []byte("cannot download")) {
		t.Skipf("no Debian packages to be had: %s", out)
	}
	if err != nil {
		t.Fatalf("tiny %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// A metadata service with version 2 of the protocol only.
type metadata struct {
	entries map[string]string // by path below /latest/
	token   string
	refused atomic.Int64 // requests without a good token
}

func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/latest/")
	switch body, ok := m.entries[path]; {
	case r.Method == http.MethodPut && path == "api/token":
		fmt.Fprint(w, m.token)
	case r.Header.Get("X-aws-ec2-metadata-token") != m.token:
		m.refused.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	case ok:
		fmt.Fprint(w, body)
	default:
		http.NotFound(w, r)
	}
}

// A guest is one QEMU with a serial log, a monitor and a forwarded SSH port.
type guest struct {
	t       *testing.T
	cmd     *exec.Cmd
	exited  chan error
	started time.Time
	log     string // file of the serial port
	ssh     string // address
	qmp     *json.Decoder
	qmpConn net.Conn
	key     ssh.Signer
}

// boot starts QEMU with the given disk arguments.
func boot(t *testing.T, imds string, key ssh.Signer, args ...string) *guest {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, log: filepath.Join(dir, "serial"), ssh: l.Addr().String(), key: key, exited: make(chan error, 1)}
	l.Close()
	_, port, _ := net.SplitHostPort(imds)
	monitor := filepath.Join(dir, "qmp")
	g.cmd = exec.Command("qemu-system-x86_64", append([]string{
		"-accel", "tcg", "-machine", "q35", "-m", "256", "-nodefaults", "-display", "none",
		"-serial", "file:" + g.log,
		"-qmp", "unix:" + monitor + ",server=on,wait=off",
		// The network is 169.254/16 so that QEMU can forward the metadata address.
		"-netdev", "user,id=n,net=169.254.0.0/16,restrict=off,hostfwd=tcp:" + g.ssh + "-:22," +
			"guestfwd=tcp:169.254.169.254:80-cmd:busybox nc 127.0.0.1 " + port,
		"-device", "virtio-net-pci,netdev=n", "-device", "virtio-rng-pci",
	}, args...)...)
	g.cmd.Stderr = os.Stderr
	g.started = time.Now()
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { g.exited <- g.cmd.Wait() }()
	t.Cleanup(func() {
		g.cmd.Process.Kill()
		if t.Failed() {
			b, _ := os.ReadFile(g.log)
			t.Logf("serial port:\n%s", b)
		}
	})
	g.until("the monitor", func() (err error) {
		g.qmpConn, err = net.Dial("unix", monitor)
		return err
	})
	t.Cleanup(func() { g.qmpConn.Close() })
	g.qmp = json.NewDecoder(g.qmpConn)
	g.command("qmp_capabilities")
	return g
}

// until calls f until it succeeds.
func (g *guest) until(what string, f func() error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			g.t.Fatalf("%s: %v after %v", what, err, patience)
		}
	}
}

// command tells QEMU's monitor something and waits until it agrees.
func (g *guest) command(name string) {
	g.t.Helper()
	if _, err := fmt.Fprintf(g.qmpConn, "{\"execute\": %q}\n", name); err != nil {
		g.t.Fatalf("%s: %v", name, err)
	}
	for {
		var answer struct {
			Return *json.RawMessage
			Error  *json.RawMessage
		}
		if err := g.qmp.Decode(&answer); err != nil || answer.Error != nil {
			g.t.Fatalf("%s: %v %s", name, err, answer.Error)
		}
		if answer.Return != nil {
			return
		}
	}
}

// banner waits for SSH's greeting and says how long after power-on it came.
func (g *guest) banner() time.Duration {
	g.t.Helper()
	g.until("SSH banner", func() error {
		c, err := net.DialTimeout("tcp", g.ssh, time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		b := make([]byte, 4)
		if _, err := c.Read(b); err != nil {
			return err
		}
		if string(b) != "SSH-" {
			return fmt.Errorf("greeting %q", b)
		}
		return nil
	})
	return time.Since(g.started)
}

// run logs in as root and returns what the command prints.
func (g *guest) run(command string) string {
	g.t.Helper()
	c, err := ssh.Dial("tcp", g.ssh, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(g.key)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience,
	})
	if err != nil {
		g.t.Fatalf("log in: %v", err)
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		g.t.Fatal(err)
	}
	out, err := s.CombinedOutput(command)
	if _, missing := err.(*ssh.ExitMissingError); err != nil && !missing {
		g.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// says waits until the serial port has shown text n times.
func (g *guest) says(text string, n int) {
	g.t.Helper()
	g.until(fmt.Sprintf("%q on the serial port", text), func() error {
		b, err := os.ReadFile(g.log)
		if got := bytes.Count(b, []byte(text)); err == nil && got < n {
			err = fmt.Errorf("seen %d times, want %d", got, n)
		}
		return err
	})
}

// gone waits until QEMU has ended by itself, and says how long that took.
func (g *guest) gone() time.Duration {
	g.t.Helper()
	start := time.Now()
	select {
	case err := <-g.exited:
		if err != nil {
			g.t.Fatalf("QEMU: %v", err)
		}
	case <-time.After(patience):
		g.t.Fatalf("still running %v after it was told to power off", patience)
	}
	return time.Since(start)
}

// newMetadata starts a metadata service for a new key pair.
func newMetadata(t *testing.T) (*metadata, string, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	m := &metadata{token: rand.Text(), entries: map[string]string{
		"meta-data/instance-id":               "i-0123456789abcdef0",
		"meta-data/local-hostname":            "ip-169-254-2-15.ec2.internal",
		"meta-data/public-keys/":              "0=mine",
		"meta-data/public-keys/0/openssh-key": string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
		"user-data":                           "#!/bin/sh\necho ran >>/root/ran\nhostname\n",
	}}
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return m, s.Listener.Addr().String(), signer
}

// A life of a tiny guest on a disk larger than its image: first boot, reboot,
// the power button, power-on again.
func TestTinyDisk(t *testing.T) {
	need(t)
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	tiny(t, disk)
	if fi, err := os.Stat(disk); err != nil || fi.Size() > 40<<20 {
		t.Fatalf("image: %v, %d bytes; want at most 40 MiB", err, fi.Size())
	}
	if out, err := exec.Command("qemu-img", "resize", "-q", disk, fmt.Sprint(3*gib)).CombinedOutput(); err != nil {
		t.Fatalf("resize: %v %s", err, out)
	}
	m, imds, key := newMetadata(t)
	args := []string{
		"-drive", "file=" + disk + ",format=qcow2,if=none,id=root,cache=unsafe", "-device", "virtio-blk-pci,drive=root,serial=vol0123456789abcdef0",
		"-blockdev", "driver=null-co,size=1048576,read-zeroes=on,node-name=extra", "-device", "virtio-blk-pci,drive=extra,serial=vol0abc",
	}

	g := boot(t, imds, key, args...)
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
	m.entries["meta-data/instance-id"] = "i-0fedcba9876543210"
	g = boot(t, imds, key, args...)
	t.Logf("SSH banner after %v on the second start", g.banner())
	g.says("eucad-tiny: user-data done", 1)
	if got := g.run("cat /root/ran; imds meta-data/instance-id; imds nothing || echo none"); got != "ran\nran\ni-0fedcba9876543210none" {
		t.Errorf("as another instance: %q", got)
	}
	g.run("poweroff")
	g.gone()
	if n := m.refused.Load(); n != 0 {
		t.Errorf("%d requests without a good token", n)
	}
}

// A kernel and ramdisk booted directly (AKI and ARI) find the root file system
// on a disk that has no partition table.
func TestTinyKernel(t *testing.T) {
	need(t)
	dir := t.TempDir()
	tiny(t, "--root", filepath.Join(dir, "root.ext4"), "--kernel", dir)
	_, imds, key := newMetadata(t)
	g := boot(t, imds, key,
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
