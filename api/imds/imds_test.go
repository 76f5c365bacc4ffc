package imds

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"eucad/store/cloud"
)

var launched = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

// sample is an instance that has everything.
func sample() cloud.Metadata {
	return cloud.Metadata{
		InstanceID: "i-0123456789abcdef0", AccountID: "123456789012", ReservationID: "r-0123456789abcdef0",
		ImageID: "ami-0123456789abcdef0", KernelID: "aki-01234567", RamdiskID: "ari-01234567",
		Type: "m1.small", Arch: "x86_64", Region: "us-east-1", Zone: "us-east-1a", ZoneID: "use1-az1",
		Domain: "cloud.example", Launched: launched,
		Hostname: "ip-172-31-0-10.ec2.internal", PublicHostname: "ec2-203-0-113-10.cloud.example",
		UserData: []byte("#!/bin/sh\n\x00\xff"), KeyName: "mine", PublicKey: "ssh-ed25519 AAAA\n",
		Mappings: []cloud.MetadataMapping{{Name: "ami", Device: "sda1"}, {Name: "root", Device: "/dev/sda1"}, {Name: "ebs1", Device: "sdf"}},
		Groups:   []string{"default", "web"},
		Tags:     []cloud.Tag{{Key: "Name", Value: "a b"}, {Key: "empty"}, {Key: "has/slash", Value: "x"}, {Key: "..", Value: "x"}},
		Options:  cloud.MetadataOptions{Tokens: "optional", Endpoint: "enabled", HopLimit: 1, Tags: "enabled"},
		Interfaces: []cloud.MetadataInterface{{
			ID: "eni-0123456789abcdef0", MAC: "02:00:00:00:00:0A", Hostname: "ip-172-31-0-10.ec2.internal",
			PrivateIPs: []netip.Addr{netip.MustParseAddr("172.31.0.10"), netip.MustParseAddr("172.31.0.11")},
			PublicIPs:  []netip.Addr{netip.MustParseAddr("203.0.113.10"), {}},
			SubnetID:   "subnet-0123456789abcdef0", SubnetCIDR: netip.MustParsePrefix("172.31.0.0/20"),
			VpcID: "vpc-0123456789abcdef0", VpcCIDR: netip.MustParsePrefix("172.31.0.0/16"),
			GroupIDs: []string{"sg-0123456789abcdef0"}, GroupNames: []string{"default"},
		}, {
			ID: "eni-0fedcba9876543210", MAC: "02:00:00:00:00:0b", DeviceIndex: 1,
			PrivateIPs: []netip.Addr{netip.MustParseAddr("172.31.16.10")},
			SubnetID:   "subnet-0fedcba9876543210", VpcID: "vpc-0123456789abcdef0",
		}},
	}
}

// sameSigner is made once: a key takes a while.
var sameSigner = sync.OnceValue(func() *Signer {
	b, err := NewSigner(launched)
	if err != nil {
		panic(err)
	}
	s, err := ParseSigner(b)
	if err != nil {
		panic(err)
	}
	return s
})

var testKey = []byte("0123456789abcdef0123456789abcdef")

// serve answers for one instance, whoever asks, at the time now.
func serve(m cloud.Metadata, now time.Time) http.Handler {
	lookup := func(_ context.Context, a netip.Addr) (cloud.Metadata, bool) { return m, a.Is4() }
	return Handler(lookup, Options{TokenKey: testKey, Signer: sameSigner(), Now: func() time.Time { return now }})
}

// ask sends one request; headers are names and values in turn.
func ask(h http.Handler, method, path string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, "http://169.254.169.254/", nil)
	r.URL.Path = path
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

func TestEntries(t *testing.T) {
	t.Parallel()
	h := serve(sample(), launched)
	const mac = "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:0a/"
	for _, tt := range []struct{ path, want string }{
		{"/latest", "dynamic\nmeta-data\nuser-data"},
		{"/1.0/", "dynamic\nmeta-data\nuser-data"},
		{"/latest/user-data", "#!/bin/sh\n\x00\xff"},
		{"/latest/user-data/", "#!/bin/sh\n\x00\xff"},
		{"//latest//meta-data/instance-id", "i-0123456789abcdef0"},
		{"/2009-04-04/meta-data/ami-id", "ami-0123456789abcdef0"},
		{"/2031-12-31/meta-data/ami-launch-index", "0"},
		{"/latest/meta-data/local-ipv4", "172.31.0.10"},
		{"/latest/meta-data/public-ipv4", "203.0.113.10"},
		{"/latest/meta-data/security-groups", "default\nweb"},
		{"/latest/meta-data/placement", "availability-zone\navailability-zone-id\nregion"},
		{"/latest/meta-data/block-device-mapping/", "ami\nroot\nebs1"},
		{"/latest/meta-data/block-device-mapping/root", "/dev/sda1"},
		{"/latest/meta-data/public-keys", "0=mine"},
		{"/latest/meta-data/public-keys/", "0=mine"},
		{"/latest/meta-data/public-keys/0", "openssh-key"},
		{"/latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA mine"},
		{"/latest/meta-data/network", "interfaces/"},
		{"/latest/meta-data/network/interfaces/macs/", "02:00:00:00:00:0a/\n02:00:00:00:00:0b/"},
		{mac + "local-ipv4s", "172.31.0.10\n172.31.0.11"},
		{mac + "public-ipv4s", "203.0.113.10"},
		{mac + "ipv4-associations/", "203.0.113.10"},
		{mac + "ipv4-associations/203.0.113.10", "172.31.0.10"},
		{mac + "vpc-ipv4-cidr-blocks", "172.31.0.0/16"},
		{"/latest/meta-data/tags/instance", "Name\nempty"},
		{"/latest/meta-data/tags/instance/Name", "a b"},
		{"/latest/dynamic", "instance-identity/"},
		{"/latest/dynamic/instance-identity", "document\npkcs7\nrsa2048\nsignature"},
	} {
		r := ask(h, "GET", tt.path)
		if got := body(r); r.StatusCode != 200 || got != tt.want {
			t.Errorf("GET %s = %d %q, want %q", tt.path, r.StatusCode, got, tt.want)
		}
	}
	for _, path := range []string{"/late", "/2009-4-4", "/latest/meta-data/spot", "/latest/meta-data/iam/", "/latest/meta-data/../user-data",
		"/latest/meta-data/instance-id/x", "/latest/meta-data/tags/instance/..", "/latest/api/token", "/" + strings.Repeat("a", maxPath)} {
		r := ask(h, "GET", path)
		if got := body(r); r.StatusCode != 404 || !strings.Contains(got, "<h1>404 - Not Found</h1>") {
			t.Errorf("GET %.50s = %d %q, want 404", path, r.StatusCode, got)
		}
	}
}

// walk reads all that is listed below path, as cloud-init does.
func walk(t *testing.T, h http.Handler, path string) int {
	r := ask(h, "GET", path)
	if r.StatusCode != 200 {
		t.Errorf("GET %s = %d, though it is listed", path, r.StatusCode)
	}
	n := 1
	if !strings.HasSuffix(path, "/") {
		return n
	}
	for line := range strings.Lines(body(r)) {
		line = strings.TrimSuffix(line, "\n")
		if number, _, ok := strings.Cut(line, "="); ok && strings.HasSuffix(path, "/public-keys/") {
			line = number + "/"
		}
		if strings.Count(path, "/") < 3 && line != "user-data" {
			line += "/" // the upper folders list without slashes
		}
		n += walk(t, h, path+line)
	}
	return n
}

// Whatever is listed answers, in every version, for an instance that has
// everything and for one that has next to nothing.
func TestWalk(t *testing.T) {
	t.Parallel()
	bare := cloud.Metadata{InstanceID: "i-0123456789abcdef0", Type: "m1.small", Arch: "x86_64", Launched: launched}
	for name, m := range map[string]cloud.Metadata{"full": sample(), "bare": bare} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if n := walk(t, serve(m, launched), "/"); n < 10*len(versions) {
				t.Errorf("%d entries in %d versions", n, len(versions))
			}
		})
	}
	if !slices.IsSorted(versions) {
		t.Error("versions are not sorted")
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	const id = "/latest/meta-data/instance-id"
	with := func(o cloud.MetadataOptions) http.Handler {
		m := sample()
		m.Options = o
		return serve(m, launched)
	}
	open, strict := with(cloud.DefaultMetadataOptions), with(cloud.MetadataOptions{Tokens: "required", Endpoint: "enabled"})
	off := with(cloud.MetadataOptions{Tokens: "optional", Endpoint: "disabled"})
	token := body(ask(open, "PUT", "/latest/api/token", ttlHeader, "60"))
	other := tokens{key: testKey, now: time.Now}.issue("i-0000000000000000f", 60)
	for _, tt := range []struct {
		name         string
		h            http.Handler
		method, path string
		headers      []string
		want         int
	}{
		{"version 1", open, "GET", id, nil, 200},
		{"head", open, "HEAD", id, nil, 200},
		{"good token", open, "GET", id, []string{tokenHeader, token}, 200},
		{"bad token", open, "GET", id, []string{tokenHeader, "x"}, 401},
		{"empty token", open, "GET", id, []string{tokenHeader, ""}, 401},
		{"another instance's", open, "GET", id, []string{tokenHeader, other}, 401},
		{"version 1, required", strict, "GET", id, nil, 401},
		{"unknown, required", strict, "GET", "/nothing", nil, 401},
		{"good token, required", strict, "GET", id, []string{tokenHeader, token}, 200},
		{"disabled", off, "GET", id, []string{tokenHeader, token}, 403},
		{"token, disabled", off, "PUT", "/latest/api/token", []string{ttlHeader, "60"}, 403},
		{"shortest", open, "PUT", "/latest/api/token", []string{ttlHeader, "1"}, 200},
		{"longest", open, "PUT", "/latest/api/token", []string{ttlHeader, "21600"}, 200},
		{"too long", open, "PUT", "/latest/api/token", []string{ttlHeader, "21601"}, 400},
		{"zero", open, "PUT", "/latest/api/token", []string{ttlHeader, "0"}, 400},
		{"no number", open, "PUT", "/latest/api/token", []string{ttlHeader, "1h"}, 400},
		{"none", open, "PUT", "/latest/api/token", nil, 400},
		{"forwarded", open, "PUT", "/latest/api/token", []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		{"elsewhere", open, "PUT", "/2021-03-23/api/token", []string{ttlHeader, "60"}, 404},
		{"post", open, "POST", id, nil, 405},
	} {
		r := ask(tt.h, tt.method, tt.path, tt.headers...)
		if r.StatusCode != tt.want {
			t.Errorf("%s: %s %s = %d, want %d", tt.name, tt.method, tt.path, r.StatusCode, tt.want)
		}
		if got := r.Header.Get("Server"); got != "EC2ws" {
			t.Errorf("%s: Server = %q", tt.name, got)
		}
	}
	r := ask(open, "PUT", "/latest/api/token", ttlHeader, "21600")
	if got := r.Header.Get(ttlHeader); got != "21600" || r.Header.Get("Content-Type") != "text/plain" || len(token) != 56 {
		t.Errorf("PUT token: TTL %q, type %q, %d characters", got, r.Header.Get("Content-Type"), len(token))
	}
	stranger := httptest.NewRequest("GET", id, nil)
	stranger.RemoteAddr = "[2001:db8::1]:1"
	w := httptest.NewRecorder()
	if open.ServeHTTP(w, stranger); w.Code != 404 {
		t.Errorf("unknown address: %d, want 404", w.Code)
	}
}

// A token outlives the service, not its time.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	token := body(ask(serve(sample(), launched), "PUT", "/latest/api/token", ttlHeader, "60"))
	for after, want := range map[time.Duration]int{0: 200, 59 * time.Second: 200, time.Minute: 401, -10 * time.Hour: 401} {
		r := ask(serve(sample(), launched.Add(after)), "GET", "/", tokenHeader, token)
		if r.StatusCode != want {
			t.Errorf("after %v: %d, want %d", after, r.StatusCode, want)
		}
		if left := strconv.Itoa(60 - int(after.Seconds())); want == 200 && r.Header.Get(ttlHeader) != left {
			t.Errorf("after %v: %s s left, want %s", after, r.Header.Get(ttlHeader), left)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/latest/meta-data/public-keys/0/openssh-key", "x")
	f.Add("/2021-03-23//dynamic/instance-identity/rsa2048/", tokens{key: testKey, now: func() time.Time { return launched }}.issue("i-0123456789abcdef0", 9))
	f.Add("/latest/meta-data/tags/instance/..", "")
	h := serve(sample(), launched)
	f.Fuzz(func(t *testing.T, path, token string) {
		r := ask(h, "GET", path, tokenHeader, token)
		if _, ok := (tokens{key: testKey, now: func() time.Time { return launched }}).check(token, sample().InstanceID); ok == (r.StatusCode == 401) {
			t.Errorf("GET %q with token %q = %d", path, token, r.StatusCode)
		}
		if r.StatusCode == 500 {
			t.Errorf("GET %q = 500", path)
		}
	})
}

func BenchmarkGet(b *testing.B) {
	h := serve(sample(), launched)
	r := httptest.NewRequest("GET", "/latest/meta-data/instance-id", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}
