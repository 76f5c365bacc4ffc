package roles

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/roles/cluster"
	"eucad/roles/frontend"
	"eucad/roles/peer"
	"eucad/roles/plan"
	"eucad/store/cloud"
)

var nextAddr atomic.Uint32

// freeAddr makes loopback addresses of this process's own: a host has the same
// port at each of its addresses, as in service, and gossip's beside it.
func freeAddr() netip.AddrPort {
	n := nextAddr.Add(1)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(128 + os.Getpid()%64), byte(os.Getpid() / 64), byte(n)}), 8774)
}

// A testFront is a front end, which may be somewhere else after a restart.
type testFront struct {
	t    *testing.T
	dir  string
	addr netip.AddrPort
	*frontend.FrontEnd
	stop func()
}

func newFront(t *testing.T) *testFront {
	dir, err := os.MkdirTemp("", "eucad") // a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	f := &testFront{t: t, dir: dir, addr: freeAddr()}
	f.start()
	t.Cleanup(func() {
		f.stop()
		os.RemoveAll(dir)
	})
	return f
}

func (f *testFront) start() {
	f.t.Helper()
	front, err := frontend.Open(f.t.Context(), frontend.Options{
		Dir: f.dir, Listen: "127.0.0.1:0", Region: "eucad-1", Name: "front", Version: Version, PeerListen: f.addr.String(), Types: cloud.NewTypes(),
		Overcommit: cloud.Overcommit{CPU: 1, Memory: 1, Disk: 1},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.FrontEnd = front
	f.stop = f.background(front.Run, front.Close)
}

// background runs something until the returned function is called.
func (f *testFront) background(run func(context.Context) error, close func() error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, close()); err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(stop)
	return stop
}

// A testHost is a host that joined, as runRemote has it, without network and guests.
type testHost struct {
	f    *testFront
	dir  string // of credentials
	addr netip.AddrPort
	role peer.Role
	*uplink
	stop func()
}

// join has a host of az1 join at another one.
func (f *testFront) join(role peer.Role, name string, at netip.AddrPort) *testHost {
	f.t.Helper()
	token, err := f.Hosts().CreateToken(f.t.Context(), string(role), "az1", "", time.Hour)
	if err != nil {
		f.t.Fatal(err)
	}
	h := &testHost{f: f, dir: f.t.TempDir(), addr: freeAddr(), role: role}
	if _, err := peer.Join(f.t.Context(), peer.JoinOptions{Token: token, Address: at.String(), Name: name, Dir: h.dir, Version: Version}); err != nil {
		f.t.Fatal(err)
	}
	h.start(plan.Hosts{})
	return h
}

// start starts the host, which knows those from an earlier life.
func (h *testHost) start(known plan.Hosts) {
	t := h.f.t
	t.Helper()
	creds, err := peer.LoadCredentials(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	if h.uplink, err = openUplink(creds, uplinkOptions{addr: h.addr, known: known}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", h.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	o := peer.ServerOptions{Credentials: creds, Version: Version, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	if h.role == peer.Cluster {
		head := cluster.New(cluster.Options{Self: creds.Identity(), Credentials: creds, Version: Version, FrontEnd: h.up, Hosts: func() plan.Hosts { return known }})
		o.Open, o.Handler = head.Open(), head.Handler(o.Handler)
	}
	h.stop = h.f.background(func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return h.run(ctx) })
		g.Go(func() error { return peer.NewServer(o).Serve(ctx, l) })
		return g.Wait()
	}, func() error { h.close(); return nil })
}

func (h *testHost) hello() error {
	in := plan.Hello{Version: Version, Net: cloud.Net{Addr: h.addr.String()}}
	if h.role == peer.Cluster {
		in.Cluster = &plan.ClusterHello{Regime: plan.Edge}
	} else {
		in.Node = &plan.NodeHello{Arch: "x86_64", Kind: "sim", Host: cloud.Capacity{CPUs: 1, MemoryMiB: 1024, DiskGiB: 1}}
	}
	ctx, cancel := context.WithTimeout(h.f.t.Context(), 5*time.Second)
	defer cancel()
	return h.up.Call(ctx, "POST", plan.HelloPath, in, nil)
}

// reaches waits until the host gets through to its front end.
func (h *testHost) reaches() {
	h.f.t.Helper()
	var err error
	h.f.eventually(func() bool { err = h.hello(); return err == nil }, func() string { return fmt.Sprint(err) })
}

// gossips waits until the head, where it is now, and its three pool mates see each
// other: then they know that who stops has left, and need not wait until it is dead.
func (f *testFront) gossips(head *testHost) {
	f.t.Helper()
	f.eventually(func() bool {
		seen := false
		for _, m := range f.Hosts().Members() {
			seen = seen || m.Name == "h1" && m.Address == head.addr.String()
		}
		return seen && len(head.pools.Members()) == 5 // it is in two pools
	}, func() string { return fmt.Sprint(f.Hosts().Members(), head.pools.Members()) })
}

func (f *testFront) eventually(is func() bool, else_ func() string) {
	f.t.Helper()
	for limit := time.Now().Add(2 * time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			f.t.Fatalf("it does not come to pass: %s", else_())
		}
	}
}

// A front end and a head that are somewhere else are found by those who look for
// them, and found there at once after the next start.
func TestFindsWhoMoved(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	head := f.join(peer.Cluster, "h1", f.addr)
	head.reaches()
	n1, n2 := f.join(peer.Node, "n1", head.addr), f.join(peer.Node, "n2", f.addr) // n2 goes to the front end by itself
	n1.reaches()
	n2.reaches()
	hosts := plan.Hosts{Hosts: map[string]plan.Host{}}
	for _, h := range []*testHost{head, n1, n2} {
		hosts.Hosts[h.creds.Identity().Name] = plan.Host{Zone: "az1", Addr: h.addr.String()}
	}
	n2.know(hosts) // by its plan
	f.gossips(head)

	head.stop()
	head.addr = freeAddr()
	head.start(hosts)
	head.reaches()
	n1.reaches()
	kept, err := peer.LoadCredentials(n1.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, at := kept.Server(); at != head.addr.String() {
		t.Errorf("n1 has kept %s as the head's address, want %s", at, head.addr)
	}

	f.gossips(head)
	f.stop()
	f.addr = freeAddr()
	f.start()
	for _, h := range []*testHost{head, n1, n2} {
		h.reaches()
	}
	if at := n2.up.Address(); at != f.addr.String() {
		t.Errorf("n2 has found the front end at %s, want %s", at, f.addr)
	}
}

// What gossip says is a hint: who answers at such an address and is another one
// gets nothing, and the right one is found all the same.
func TestFindsNoOther(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	head := f.join(peer.Cluster, "h1", f.addr)
	node := f.join(peer.Node, "n1", head.addr)
	liar := f.join(peer.Node, "n2", f.addr)
	var asked []string
	c := peer.NewClient(peer.ClientOptions{Address: liar.addr.String(), Peer: head.creds.Identity(), Credentials: node.creds, Version: Version,
		Find: func(id peer.Identity) []string {
			asked = append(asked, id.Name)
			return []string{liar.addr.String(), head.addr.String()}
		}})
	defer c.Close()
	if err := c.Call(t.Context(), "POST", "/frontend"+plan.LeasePath, struct{}{}, nil); peer.ErrorCode(err) != peer.WrongHost {
		t.Errorf("another host: %v", err)
	}
	if err := c.Call(t.Context(), "POST", "/frontend"+plan.LeasePath, struct{}{}, nil); err != nil {
		t.Errorf("the right one: %v", err)
	}
	if !slices.Equal(asked, []string{"h1"}) || c.Address() != head.addr.String() {
		t.Errorf("asked for %v, and is at %s", asked, c.Address())
	}
}

// Who is let out of the cloud is let out everywhere at once, and gossip gets keys
// that it does not know.
func TestRemovedHostIsOutEverywhere(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	head := f.join(peer.Cluster, "h1", f.addr)
	gone, other := f.join(peer.Node, "n1", head.addr), f.join(peer.Node, "n2", head.addr)
	gone.reaches()
	toOther := gone.client(other.addr.String(), other.creds.Identity())
	defer toOther.Close()
	if err := toOther.Call(t.Context(), "GET", "/", nil, nil); err != nil {
		t.Fatal(err)
	}
	key := string(other.creds.Welcome().LAN[0])
	if err := f.Hosts().RemoveHost(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() error{
		"head": func() error { return gone.joined.Call(t.Context(), "POST", plan.GrantPath, struct{}{}, nil) },
		"node": func() error { return toOther.Call(t.Context(), "GET", "/", nil, nil) },
		"to it": func() error {
			return other.client(gone.addr.String(), gone.creds.Identity()).Call(t.Context(), "GET", "/", nil, nil)
		},
	} {
		var err error
		f.eventually(func() bool { err = ask(); return peer.ErrorCode(err) == peer.Denied }, func() string { return fmt.Sprint(name, ": ", err) })
	}
	f.eventually(func() bool { return len(other.creds.Welcome().LAN) == 2 }, func() string { return "n2 has no new key" })
	if got := other.creds.Welcome(); string(got.LAN[0]) != key || !slices.Contains(got.Denied, gone.creds.Identity().String()) {
		t.Errorf("welcome = %q", got.Denied)
	}
	if n := len(gone.creds.Welcome().LAN); n != 1 {
		t.Errorf("who was let out has %d keys", n)
	}
}

// A host that has joined keeps to what it is, unless it brings another token.
func TestJoinsAgainWithAnotherToken(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	token := func() string {
		t.Helper()
		s, err := f.Hosts().CreateToken(t.Context(), "node", "az1", "", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	c := Config{Roles: []string{"node"}, Dir: t.TempDir(), Join: f.addr.String(), Token: token()}
	if err := os.WriteFile(c.Dir+"/name", []byte("n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := join(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		t.Helper()
		creds, err := join(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return peer.Serial(creds.Certificate())
	}
	was := peer.Serial(first.Certificate())
	if serial() != was {
		t.Error("it joined again with the token that it had")
	}
	c.Token = ""
	if serial() != was {
		t.Error("it joined again without a token")
	}
	c.Token = token()
	if serial() == was {
		t.Error("it did not join again with another token")
	}
}
