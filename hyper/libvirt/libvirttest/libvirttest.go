// Package libvirttest runs a private libvirtd for a test.
//
// The daemon, its logger and all its guests live in mount and process
// namespaces of their own, with their own /run/libvirt, /var/lib/libvirt,
// /var/log/libvirt and /etc/libvirt: whatever libvirtd the machine has is not
// touched, and nothing outlives the test, not even when it is killed.
package libvirttest

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	//go:embed private.sh
	private string
	//go:embed ns.sh
	orders string
)

// startTime bounds the wait for the daemon's socket, on a busy machine.
const startTime = time.Minute

// A Daemon is a private libvirtd.
type Daemon struct {
	Socket string // to dial; visible from outside the namespaces
	LogDir string // where it keeps QEMU's logs, its /var/log/libvirt/qemu
	Dir    string // scratch directory that QEMU's user can search

	cmd *exec.Cmd
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
	if why := Missing(); why != "" {
		t.Skip(why)
	}
	d, err := Open(Dir(t), flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// Missing says what a private libvirtd lacks on this machine, or "".
func Missing() string {
	if os.Geteuid() != 0 {
		return "a private libvirtd needs root"
	}
	for _, tool := range []string{"libvirtd", "virtlogd", "qemu-system-x86_64", "qemu-img", "bash", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed"
		}
	}
	return ""
}

// Open runs a private libvirtd, with its files in dir, until Close. dir must
// be empty, and QEMU's user able to search it. flags may have CLONE_NEWNET.
func Open(dir string, flags uintptr) (*Daemon, error) {
	d := &Daemon{Socket: dir + "/run/libvirt-sock", LogDir: dir + "/log/qemu", Dir: dir + "/scratch"}
	for _, sub := range []string{"run", "lib", "log", "cache", "etc", "scratch"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o711); err != nil {
			return nil, err
		}
	}
	files := map[string]string{
		"libvirtd.conf": "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n",
		"virtlogd.conf": "max_size = 262144\n",
		"qemu.conf":     "",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	kvm := "hide"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil && regexp.MustCompile(`(?m)^flags.*\b(vmx|svm)\b`).Match(b) {
		kvm = "keep"
	}
	d.cmd = exec.Command("bash", "-c", private+orders, "libvirttest", dir, kvm)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | flags,
		Unshareflags: syscall.CLONE_NEWNS, // Go makes the mounts private too
	}
	in, err := d.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("no namespaces to run a private libvirtd in: %w", err)
	}
	d.in, d.out = in, bufio.NewReader(out)
	if err := d.begin(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close ends the daemon and everything else in its namespaces, guests too.
func (d *Daemon) Close() error {
	d.in.Close()
	// The first process takes all others with it; should it wait for one that
	// hangs, it must not take the test's output with it.
	defer time.AfterFunc(time.Minute, func() { d.cmd.Process.Kill() }).Stop()
	return d.cmd.Wait()
}

// Command returns a command that runs in the namespaces of the daemon, as on
// a machine of its own.
func (d *Daemon) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	in := []string{"-t", strconv.Itoa(d.cmd.Process.Pid), "-m", "-n", "-p", "--", name}
	return exec.CommandContext(ctx, "nsenter", append(in, args...)...)
}

// Pid returns the id of the first process in the daemon's namespaces.
func (d *Daemon) Pid() int { return d.cmd.Process.Pid }

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
	if err := d.begin(); err != nil {
		t.Fatal(err)
	}
}

func (d *Daemon) begin() error {
	if err := d.Order("start"); err != nil {
		return err
	}
	for end := time.Now().Add(startTime); ; {
		c, err := net.Dial("unix", d.Socket)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("libvirtd did not start: %w\n%s", err, d.log())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (d *Daemon) log() []byte {
	b, _ := os.ReadFile(filepath.Join(filepath.Dir(d.Dir), "ns.log"))
	return b
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

// Do is Order for tests.
func (d *Daemon) Do(t testing.TB, words ...string) {
	t.Helper()
	if err := d.Order(words...); err != nil {
		t.Fatal(err)
	}
}

// Order gives the namespaces' first process one of the orders in ns.sh.
func (d *Daemon) Order(words ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := fmt.Fprintln(d.in, strings.Join(words, " ")); err != nil {
		return err
	}
	if line, err := d.out.ReadString('\n'); err != nil || line != "ok\n" {
		return fmt.Errorf("libvirttest: %v: %q, %v\n%s", words, line, err, d.log())
	}
	return nil
}
