// Package libvirttest runs a private libvirtd for a test.
//
// The daemon, its logger and all its guests live in mount and process
// namespaces of their own, with their own /run/libvirt, /var/lib/libvirt,
// /var/log/libvirt and /etc/libvirt: whatever libvirtd the machine has is not
// touched, and nothing outlives the test, not even when it is killed.
package libvirttest

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

//go:embed ns.sh
var script string

// startTime bounds the wait for the daemon's socket, on a busy machine.
const startTime = time.Minute

// A Daemon is a private libvirtd.
type Daemon struct {
	Socket string // to dial; visible from outside the namespaces
	LogDir string // where it keeps QEMU's logs, its /var/log/libvirt/qemu
	Dir    string // scratch directory that QEMU's user can search

	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader
}

// Start runs a private libvirtd until the test ends and returns the path of
// its socket. It skips the test, with the reason, where that can't be done.
func Start(t testing.TB) string { return New(t).Socket }

// New is Start for tests that also stop and restart the daemon. Guests use
// the network namespace of the calling thread.
func New(t testing.TB) *Daemon { return start(t, 0) }

// NewPrivate is New with a new, empty network namespace for the guests.
func NewPrivate(t testing.TB) *Daemon { return start(t, syscall.CLONE_NEWNET) }

func start(t testing.TB, flags uintptr) *Daemon {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a private libvirtd needs root")
	}
	for _, tool := range []string{"libvirtd", "virtlogd", "qemu-system-x86_64", "qemu-img", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := Dir(t)
	d := &Daemon{Socket: dir + "/run/libvirt-sock", LogDir: dir + "/log/qemu", Dir: dir + "/scratch"}
	for _, sub := range []string{"run", "lib", "log", "cache", "etc", "scratch"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{
		"libvirtd.conf": "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n",
		"virtlogd.conf": "max_size = 262144\n",
		"qemu.conf":     "",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kvm := "hide"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil && regexp.MustCompile(`(?m)^flags.*\b(vmx|svm)\b`).Match(b) {
		kvm = "keep"
	}
	cmd := exec.Command("bash", "-c", script, "libvirttest", dir, kvm)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | flags,
		Unshareflags: syscall.CLONE_NEWNS, // Go makes the mounts private too
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no namespaces to run a private libvirtd in: %v", err)
	}
	d.in, d.out = in, bufio.NewReader(out)
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	d.Start(t)
	return d
}

// Dir returns a temporary directory that, unlike t.TempDir, QEMU's user can search.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Start starts the daemon again and returns once it accepts connections.
func (d *Daemon) Start(t testing.TB) {
	t.Helper()
	d.Do(t, "start")
	for end := time.Now().Add(startTime); ; {
		c, err := net.Dial("unix", d.Socket)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(filepath.Dir(d.Dir), "ns.log"))
			t.Fatalf("libvirtd did not start: %v\n%s", err, log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Kill kills the daemon, not its guests, and returns once it is gone.
func (d *Daemon) Kill(t testing.TB) { t.Helper(); d.Do(t, "kill") }

// Freeze stops the daemon from answering, until Thaw.
func (d *Daemon) Freeze(t testing.TB) { t.Helper(); d.Do(t, "freeze") }

// Thaw ends Freeze.
func (d *Daemon) Thaw(t testing.TB) { t.Helper(); d.Do(t, "thaw") }

// Crash kills the emulator of the machine with this id.
func (d *Daemon) Crash(t testing.TB, id string) { t.Helper(); d.Do(t, "crash", id) }

// Tap makes a tap device where guests look for theirs.
func (d *Daemon) Tap(t testing.TB, name string) { t.Helper(); d.Do(t, "tap", name) }

// Do gives the namespaces' first process one of the orders in ns.sh.
func (d *Daemon) Do(t testing.TB, words ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := fmt.Fprintln(d.in, strings.Join(words, " ")); err != nil {
		t.Fatal(err)
	}
	if line, err := d.out.ReadString('\n'); err != nil || line != "ok\n" {
		log, _ := os.ReadFile(filepath.Join(filepath.Dir(d.Dir), "ns.log"))
		t.Fatalf("libvirttest: %v: %q, %v\n%s", words, line, err, log)
	}
}
