package dhcp

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"eucad/net/link"
)

// clientScript is what udhcpc runs with what it was told in its environment.
const clientScript = `#!/bin/sh
[ "$1" = bound ] || exit 0
echo "$ip $subnet $router $mtu $dns" >"$OUT"
`

// TestClient has a real client ask, over a cable, by packet sockets.
func TestClient(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if out, err := exec.Command("busybox", "--list").Output(); err != nil || !strings.Contains(string(out), "udhcpc\n") {
		t.Skip("no busybox with udhcpc here")
	}
	ns, err := link.NewNS()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	inside := func(env []string, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), env...)
		var out []byte
		if err := ns.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err }); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	inside(nil, "ip", "link", "add", "tapguest", "type", "veth", "peer", "name", "eth0")
	inside(nil, "ip", "link", "set", "eth0", "address", guest.MAC.String(), "up")
	inside(nil, "ip", "link", "set", "tapguest", "up")

	s, err := Serve(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var index int
	err = ns.Do(func() error {
		d, err := net.InterfaceByName("tapguest")
		if err == nil {
			index = d.Index
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Put(uint32(index), guest)

	dir := t.TempDir()
	script, told := filepath.Join(dir, "script"), filepath.Join(dir, "told")
	if err := os.WriteFile(script, []byte(clientScript), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []string{"-fnq", "-fnqB"} { // -B asks for a broadcast
		os.Remove(told)
		out := inside([]string{"OUT=" + told}, "busybox", "udhcpc", flags, "-t", "5", "-T", "1", "-O", "mtu", "-i", "eth0", "-s", script)
		got, err := os.ReadFile(told)
		if err != nil {
			t.Fatalf("%s: %v\n%s", flags, err, out)
		}
		if want := "10.0.1.10 255.255.255.0 10.0.1.1 1450 10.0.0.2\n"; string(got) != want {
			t.Errorf("%s: guest was told %q, want %q", flags, got, want)
		}
	}
}
