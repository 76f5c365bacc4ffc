package imds

import (
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// listen serves the sample instance on loopback and returns its URL.
func listen(t *testing.T, tokens string) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := sample()
	m.Options.Tokens = tokens
	s := NewServer(serve(m, time.Now()))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Errorf("serve: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

// A session on one connection: the hop limit of the token's answer doesn't
// keep the next answers.
func TestSession(t *testing.T) {
	t.Parallel()
	url := listen(t, "required")
	put, _ := http.NewRequestWithContext(t.Context(), "PUT", url+"/latest/api/token", nil)
	put.Header.Set(ttlHeader, "60")
	token := do(t, put, 200)
	get, _ := http.NewRequestWithContext(t.Context(), "GET", url+"/latest/meta-data/instance-id", nil)
	do(t, get, 401)
	get.Header.Set(tokenHeader, token)
	if got := do(t, get, 200); got != "i-0123456789abcdef0" {
		t.Errorf("instance-id = %q", got)
	}
}

func do(t *testing.T, r *http.Request, want int) string {
	t.Helper()
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode != want {
		t.Errorf("%s %s = %d, %v, want %d", r.Method, r.URL, w.StatusCode, err, want)
	}
	return string(b)
}

func TestHops(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Logf("%s: not here: %v", network, err)
			continue
		}
		defer l.Close()
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		level, option := syscall.IPPROTO_IP, syscall.IP_TTL
		if network == "tcp6" {
			level, option = syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS
		}
		hops := func() (n int) {
			raw, err := c.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			raw.Control(func(fd uintptr) { n, err = syscall.GetsockoptInt(int(fd), level, option) })
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := hops()
		ctx := withConn(t.Context(), c)
		for _, tt := range []struct{ set, want int }{{2, 2}, {1, 1}, {0, before}, {300, before}} {
			if setHops(ctx, tt.set); hops() != tt.want {
				t.Errorf("%s: setHops(%d): %d hops, want %d", network, tt.set, hops(), tt.want)
			}
		}
	}
	setHops(context.Background(), 1) // no connection is no error
}

// crawl is what cloud-init's Ec2 datasource does once it has found the service,
// with its own functions.
const crawl = `
import sys, logging
from cloudinit.sources.helpers import ec2
from cloudinit import url_helper
url = sys.argv[1]
token = url_helper.readurl(url + "/latest/api/token", request_method="PUT",
    headers={"X-aws-ec2-metadata-token-ttl-seconds": "21600"}).contents.decode()
headers = lambda u: {"X-aws-ec2-metadata-token": token}
for version in ["2021-03-23", "2018-09-24", "2016-09-02", "2009-04-04"]:
    md = ec2.get_instance_metadata(version, url, headers_cb=headers)
    doc = ec2.get_instance_identity(version, url, headers_cb=headers)
    user = ec2.get_instance_userdata(version, url, headers_cb=headers)
    nic = md["network"]["interfaces"]["macs"]["02:00:00:00:00:0a"]
    print(version, md["instance-id"], md["local-hostname"], md["public-keys"]["mine"], nic["local-ipv4s"],
        md["placement"]["availability-zone"], md["block-device-mapping"]["root"], md["tags"]["instance"],
        doc["document"]["region"], len(user))
`

// Stock cloud-init reads the whole tree.
func TestCloudInit(t *testing.T) {
	t.Parallel()
	if err := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", "import cloudinit.sources.helpers.ec2").Run(); err != nil {
		t.Skip("cloud-init's Python modules are not installed")
	}
	out, err := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", crawl, listen(t, "required")).CombinedOutput()
	if err != nil {
		t.Fatalf("crawl: %v\n%s", err, out)
	}
	const rest = ` i-0123456789abcdef0 ip-172-31-0-10.ec2.internal ssh-ed25519 AAAA mine ['172.31.0.10', '172.31.0.11']` +
		` us-east-1a /dev/sda1 {'Name': 'a b', 'empty': ''} us-east-1 12` + "\n"
	if want := "2021-03-23" + rest + "2018-09-24" + rest + "2016-09-02" + rest + "2009-04-04" + rest; string(out) != want {
		t.Errorf("cloud-init read\n%swant\n%s", out, want)
	}
	if strings.Contains(string(out), "Traceback") {
		t.Error("cloud-init failed")
	}
}
