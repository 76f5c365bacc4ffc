package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"eucad/hyper/libvirt/libvirttest"
)

// A lab is a cloud of several hosts, raised by scripts/lab.
type lab struct {
	t     testing.TB
	dir   string // scratch
	tiny  string // a guest
	env   []string
	owner *os.File // the hosts end when life does: with the test's process at the latest
	life  *os.File
}

// newLab raises the hosts of a layout of scripts/lab, its name or its text,
// until the test ends.
func newLab(t testing.TB, layout string) *lab {
	t.Helper()
	files := needs(t)
	l := &lab{t: t, dir: libvirttest.Dir(t), tiny: files.tiny}
	l.env = []string{"EUCAD_LAB=" + filepath.Join(l.dir, "lab"), "EUCAD_BINARY=" + files.eucad, "EUCAD_LAB_OWNER=3"}
	var err error
	if l.owner, l.life, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := l.try("list")
			t.Log(out)
			logs, _ := filepath.Glob(filepath.Join(l.dir, "lab/hosts/*/eucad.log"))
			for _, name := range logs {
				b, _ := os.ReadFile(name)
				t.Logf("%s:\n%s", name, b)
			}
		}
		l.do("down")
		l.life.Close()
		l.owner.Close()
	})
	if strings.Contains(layout, "\n") {
		file := filepath.Join(l.dir, "layout")
		if err := os.WriteFile(file, []byte(layout), 0o600); err != nil {
			t.Fatal(err)
		}
		layout = file
	}
	l.do("up", layout)
	return l
}

// command is scripts/lab.
func (l *lab) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "../lab", args...)
	c.Env = append(os.Environ(), l.env...)
	c.ExtraFiles = []*os.File{l.owner}
	return c
}

func (l *lab) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := l.command(ctx, args...).CombinedOutput()
	return string(out), err
}

// do runs an order of scripts/lab, which must succeed.
func (l *lab) do(args ...string) {
	l.t.Helper()
	if out, err := l.try(args...); err != nil {
		l.t.Fatalf("lab %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// host returns a host of the lab.
func (l *lab) host(name string) *machine {
	return &machine{
		t: l.t, eucad: "eucad",
		command: func(ctx context.Context, command string, args ...string) *exec.Cmd {
			return l.command(ctx, slices.Concat([]string{"run", name, command}, args)...)
		},
		env: slices.Clone(l.env),
		said: func() string {
			b, _ := os.ReadFile(filepath.Join(l.dir, "lab/hosts", name, "eucad.log"))
			return string(b)
		},
	}
}

// front returns the front end, whose first account AWS's tools use on it.
func (l *lab) front(name string) *machine {
	l.t.Helper()
	m := l.host(name)
	m.credentials()
	return m
}

// clean checks that nothing of instances is left on the hosts.
func (l *lab) clean(hosts ...string) {
	l.t.Helper()
	for _, name := range hosts {
		m := l.host(name)
		m.eventually("nothing is left on "+name, func() error {
			if left := m.ok("sh", "-ec", "ip netns; test ! -e /run/libvirt || virsh -q list --all"); left != "" {
				return errors.New(left)
			}
			return nil
		})
	}
}

// inService checks that the cloud uses nodes.
func inService(front *machine, nodes ...string) func() error {
	return func() error {
		list, err := front.try("eucad", "node", "list")
		if err != nil {
			return fmt.Errorf("%w: %s", err, list)
		}
		for _, name := range nodes {
			if !regexp.MustCompile(`(?m)^` + name + ` .*in service$`).MatchString(list) {
				return errors.New(list)
			}
		}
		return nil
	}
}

// simImage makes an image that simulated guests are as well off with as with any.
func simImage(front *machine) string {
	front.t.Helper()
	front.ok("qemu-img", "create", "-q", "-f", "qcow2", "/run/image", "1M")
	return front.ok("eucad", "image", "import", "--name", "any", "/run/image")
}
