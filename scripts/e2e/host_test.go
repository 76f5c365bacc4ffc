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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"eucad/hyper/libvirt/libvirttest"
)

// patience bounds every wait: a busy machine that emulates guests is slow.
const patience = 3 * time.Minute

// build makes the binary and the tiny guest once.
var build = sync.OnceValues(func() (files struct{ eucad, tiny string }, err error) {
	dir, err := filepath.Abs("../../build/e2e")
	if err != nil {
		return files, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return files, err
	}
	files.eucad, files.tiny = filepath.Join(dir, "eucad"), filepath.Join(dir, "tiny.qcow2")
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", files.eucad, "eucad")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return files, fmt.Errorf("build eucad: %w\n%s", err, out)
	}
	if out, err := exec.Command("../image/tiny", "--build", "../../build/image", files.tiny).CombinedOutput(); err != nil {
		return files, fmt.Errorf("build the tiny guest: %w\n%s", err, out)
	}
	return files, nil
})

// A host is a machine with eucad on it.
type host struct {
	*libvirttest.Daemon
	t     testing.TB
	eucad string // the binary
	tiny  string // a guest
	dir   string // eucad's
	env   []string
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
	h.credentials()
	return h
}

// credentials has AWS's tools on the machine use the cloud's first account.
func (h *host) credentials() {
	h.t.Helper()
	h.env = nil
	for line := range strings.Lines(h.ok(h.eucad, "credentials", "--env", "--dir", h.dir)) {
		if kv, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			h.env = append(h.env, kv)
		}
	}
}

// newMachine returns a machine on which eucad is to run with the flags.
func newMachine(t testing.TB, flags ...string) *host {
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
	files, err := build()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Daemon: libvirttest.NewPrivate(t), t: t, eucad: files.eucad, tiny: files.tiny, flags: flags}
	h.dir = filepath.Join(h.Dir, "eucad")
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

// try runs a command on the machine.
func (h *host) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := h.Command(ctx, name, args...)
	c.Env = append(os.Environ(), h.env...)
	c.Env = append(c.Env, "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true")
	out, err := c.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// ok runs a command that must succeed.
func (h *host) ok(name string, args ...string) string {
	h.t.Helper()
	out, err := h.try(name, args...)
	if err != nil {
		h.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// ec2 runs AWS's command line, which must succeed.
func (h *host) ec2(args ...string) string {
	h.t.Helper()
	return h.ok("aws", append([]string{"--endpoint-url", url, "--output", "text", "ec2"}, args...)...)
}

// ec2Fails runs AWS's command line, which must fail with the code.
func (h *host) ec2Fails(code string, args ...string) {
	h.t.Helper()
	out, err := h.try("aws", append([]string{"--endpoint-url", url, "ec2"}, args...)...)
	if err == nil || !strings.Contains(out, "("+code+")") {
		h.t.Errorf("aws ec2 %s: %v %q; want %s", strings.Join(args, " "), err, out, code)
	}
}

// eventually waits until f succeeds.
func (h *host) eventually(what string, f func() error) {
	h.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}

// A guest is an instance that one can log in to.
type guest struct {
	h       *host
	id, key string
	public  string
	private string
}

// guest reads the addresses of instance id.
func (h *host) guest(id, key string) guest {
	h.t.Helper()
	f := strings.Fields(h.ec2("describe-instances", "--instance-ids", id, "--query", "Reservations[0].Instances[0].[PublicIpAddress,PrivateIpAddress]"))
	return guest{h, id, key, f[0], f[1]}
}

func (g guest) ssh(addr, command string, more ...string) (string, error) {
	args := []string{"-i", g.key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5"}
	args = append(append(args, more...), "root@"+addr, command)
	return g.h.try("ssh", args...)
}

// up waits until the guest answers SSH at its public address.
func (g guest) up() {
	g.h.t.Helper()
	g.h.eventually("SSH of "+g.id+" at "+g.public, func() error {
		out, err := g.ssh(g.public, "true")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// sh runs a command in the guest, which must succeed.
func (g guest) sh(command string) string {
	g.h.t.Helper()
	out, err := g.ssh(g.public, command)
	if err != nil {
		g.h.t.Fatalf("%s: %s: %v\n%s\n%s", g.id, command, err, out, g.h.log.String())
	}
	return out
}
