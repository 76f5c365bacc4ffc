// Package e2e tests eucad from the outside, as its users meet it: the binary,
// AWS's command line, boto3 and SSH, against real guests. Each test has a
// machine of its own: namespaces with a private libvirtd, in which eucad runs
// and outside of which nothing changes.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"eucad/hyper/libvirt/libvirttest"
)

// patience bounds every wait: a busy machine that emulates guests is slow.
const patience = 3 * time.Minute

// files are what a cloud needs.
type files struct{ eucad, tiny string }

// build makes the binary and the tiny guest once.
var build = sync.OnceValues(func() (made files, err error) {
	dir, err := filepath.Abs("../../build/e2e")
	if err != nil {
		return made, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return made, err
	}
	made.eucad, made.tiny = filepath.Join(dir, "eucad"), filepath.Join(dir, "tiny.qcow2")
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", made.eucad, "eucad")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return made, fmt.Errorf("build eucad: %w\n%s", err, out)
	}
	if out, err := exec.Command("../image/tiny", "--build", "../../build/image", made.tiny).CombinedOutput(); err != nil {
		return made, fmt.Errorf("build the tiny guest: %w\n%s", err, out)
	}
	return made, nil
})

// A host is a machine of its own with eucad on it.
type host struct {
	machine
	*libvirttest.Daemon
	tiny  string // a guest
	dir   string // eucad's
	flags []string

	run *exec.Cmd
	log logBuffer
}

// A logBuffer may be read while a process still writes to it.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) Len() int { return len(l.String()) }

const url = "http://127.0.0.1:8773"

// newHost returns a machine on which eucad runs with the flags.
func newHost(t testing.TB, flags ...string) *host {
	t.Helper()
	h := newMachine(t, append([]string{"--role", "all"}, flags...)...)
	h.start()
	h.credentials("--dir", h.dir)
	return h
}

// needs skips the test where real guests can't run, and returns what they need.
func needs(t testing.TB) files {
	t.Helper()
	if testing.Short() {
		t.Skip("real guests take their time; not with -short")
	}
	if why := libvirttest.Missing(); why != "" {
		t.Skip(why)
	}
	for _, tool := range []string{"aws", "ssh", "nft", "syslinux", "mcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	f, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// newMachine returns a machine on which eucad is to run with the flags.
func newMachine(t testing.TB, flags ...string) *host {
	t.Helper()
	files := needs(t)
	h := &host{Daemon: libvirttest.NewPrivate(t), tiny: files.tiny, flags: flags}
	h.dir = filepath.Join(h.Dir, "eucad")
	h.machine = machine{t: t, eucad: files.eucad, command: h.Command, said: h.log.String}
	t.Cleanup(func() {
		h.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("eucad's log:\n%s", h.log.String())
		}
	})
	return h
}

// start starts eucad and returns once it answers.
func (h *host) start() {
	h.t.Helper()
	h.launch()
	h.eventually("eucad answers", func() error {
		out, err := h.try(h.eucad, "credentials", "--dir", h.dir)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// launch starts eucad.
func (h *host) launch() {
	h.t.Helper()
	args := append([]string{"--dir", h.dir}, h.flags...)
	h.run = h.Command(context.Background(), h.eucad, args...)
	h.run.Stdout, h.run.Stderr = &h.log, &h.log
	if err := h.run.Start(); err != nil {
		h.t.Fatal(err)
	}
}

// stop sends eucad a signal and waits for its end.
func (h *host) stop(sig syscall.Signal) {
	if h.run == nil {
		return
	}
	h.try("pkill", "-"+strconv.Itoa(int(sig)), "-x", "-f", h.eucad+" --dir .*")
	h.run.Wait()
	h.run = nil
}
