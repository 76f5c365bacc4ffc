package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The same day by boto3, whose calls meet a restart of eucad half way.
func TestBoto3(t *testing.T) {
	if exec.Command("/usr/bin/python3", "-c", "import boto3").Run() != nil {
		t.Skip("python3-boto3 is not installed")
	}
	h := newHost(t)
	image := h.ok(h.eucad, "image", "import", "--dir", h.dir, "--name", "tiny", h.tiny)
	// The script asks for the restart by a file, for eucad is ours to start.
	gate := filepath.Join(h.Dir, "restart")
	h.ok("mkfifo", gate, gate+"ed")
	go func() {
		if _, err := h.try("cat", gate); err == nil {
			h.stop(syscall.SIGKILL)
			h.start()
			h.try("sh", "-c", "echo >"+gate+"ed")
		}
	}()
	script, err := filepath.Abs("testdata/scenario.py")
	if err != nil {
		t.Fatal(err)
	}
	out := h.ok("/usr/bin/python3", script, url, h.Dir, image, "echo >"+gate+"; cat "+gate+"ed")
	if !strings.HasSuffix(out, "all is well") {
		t.Errorf("scenario said %q", out)
	}
	h.clean()
}
