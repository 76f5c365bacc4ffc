package cluster_test

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"eucad/roles/cluster"
	"eucad/roles/peer"
	"eucad/roles/plan"
)

const version = "1.0.0"

// anyone keeps one token after the other, and lets every name in.
type anyone map[string]peer.TokenRecord

func (a anyone) Add(_ context.Context, r peer.TokenRecord) error { a[r.ID] = r; return nil }
func (a anyone) Find(_ context.Context, id string) (peer.TokenRecord, bool, error) {
	r, ok := a[id]
	return r, ok, nil
}
func (a anyone) List(context.Context) ([]peer.TokenRecord, error)             { return nil, nil }
func (a anyone) Use(context.Context, string, string, time.Time) (bool, error) { return true, nil }
func (a anyone) Revoke(context.Context, string, time.Time) error              { return nil }
func (a anyone) Claim(context.Context, peer.Identity, string) (bool, error)   { return true, nil }

func serve(t *testing.T, o peer.ServerOptions) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- peer.NewServer(o).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// A node asks its head for its lease, and only a front end has nodes fenced off.
func TestLeasesOverTheWire(t *testing.T) {
	t.Parallel()
	ca, err := peer.OpenCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	all := anyone{}
	authority := &peer.Authority{CA: ca, Tokens: all, Names: all, Deny: &peer.DenyList{}}
	front, err := authority.Credentials(t.Context(), "fe")
	if err != nil {
		t.Fatal(err)
	}
	frontAt := serve(t, peer.ServerOptions{Credentials: front, Version: version, Open: authority, Handler: http.NotFoundHandler()})
	join := func(role peer.Role, name, zone string) *peer.Credentials {
		token, err := authority.CreateToken(t.Context(), role, zone, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		c, err := peer.Join(t.Context(), peer.JoinOptions{Token: token.String(), Address: frontAt, Name: name, Role: role, Zone: zone, Dir: t.TempDir(), Version: version})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	creds := join(peer.Cluster, "h1", "az1")
	head := cluster.New(cluster.Options{Self: creds.Identity(), Credentials: creds, Version: version, Hosts: func() plan.Hosts { return plan.Hosts{} }})
	headAt := serve(t, peer.ServerOptions{Credentials: creds, Version: version, Handler: head.Handler(http.NotFoundHandler())})
	call := func(c *peer.Credentials, path string, in, out any) string {
		t.Helper()
		client := peer.NewClient(peer.ClientOptions{Address: headAt, Peer: creds.Identity(), Credentials: c, Version: version})
		defer client.Close()
		err := client.Call(t.Context(), "POST", path, in, out)
		if code := peer.ErrorCode(err); code != "" || err == nil {
			return code
		}
		t.Fatal(err)
		return ""
	}
	node, stranger := join(peer.Node, "n1", "az1"), join(peer.Node, "n2", "az2")
	if code := call(node, plan.GrantPath, struct{}{}, nil); code != "" {
		t.Errorf("grant: %s", code)
	}
	var fenced plan.Fenced
	for _, tt := range []struct {
		name string
		by   *peer.Credentials
		path string
		in   any
		want string
	}{
		{"a lease of another zone's head", stranger, plan.GrantPath, struct{}{}, peer.WrongZone},
		{"a lease for the front end", front, plan.GrantPath, struct{}{}, peer.WrongRole},
		{"a node fences", node, plan.FencePath, plan.Fence{Node: "n9", Number: 1}, peer.WrongRole},
		{"a node that is there", front, plan.FencePath, plan.Fence{Node: "n1", Number: 1}, "StillHere"},
		{"lifted", front, plan.FencePath, plan.Fence{Node: "n1", Number: 2, Lifted: true}, ""},
		{"no volume server", front, plan.FencePath, plan.Fence{Volumes: []plan.VolumeLease{{Volume: "vol-1"}}}, "NoVolumes"},
		{"one that may still ask", front, plan.FencePath, plan.Fence{Node: "n3", Number: 1}, ""},
	} {
		if code := call(tt.by, tt.path, tt.in, &fenced); code != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, code, tt.want)
		}
	}
	if fenced.Wait() <= 0 || fenced.Wait() > plan.LeaseTime {
		t.Errorf("a head that has just started says to wait %s", fenced.Wait())
	}
}
