package peer

import (
	"context"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"eucad/roles/peer/peertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testVersion = "1.4.0"

// tokens is a TokenStore in memory.
type tokens struct {
	mu sync.Mutex
	m  map[string]TokenRecord
}

var _ TokenStore = (*tokens)(nil)

func (s *tokens) Add(_ context.Context, r TokenRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[r.ID] = r
	return nil
}

func (s *tokens) Find(_ context.Context, id string) (TokenRecord, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.m[id]
	return r, ok, nil
}

func (s *tokens) List(context.Context) ([]TokenRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.m)), nil
}

func (s *tokens) Use(_ context.Context, id, by string, at time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.m[id]
	if !r.Used.IsZero() || !r.Revoked.IsZero() {
		return false, nil
	}
	r.Used, r.UsedBy = at, by
	s.m[id] = r
	return true, nil
}

func (s *tokens) Revoke(_ context.Context, id string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.m[id]
	if r.Revoked.IsZero() {
		r.Revoked = at
	}
	s.m[id] = r
	return nil
}

// names is a NameStore in memory.
type names struct {
	mu sync.Mutex
	m  map[Identity]string
}

var _ NameStore = (*names)(nil)

func (s *names) Claim(_ context.Context, id Identity, key string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.m[id]; ok && old != key {
		return false, nil
	}
	s.m[id] = key
	return true, nil
}

// A site is a cloud on one wire.
type site struct {
	t    testing.TB
	wire *peertest.Wire
	auth *Authority
	fe   *Credentials
}

func newSite(t testing.TB) *site {
	t.Helper()
	ca, err := OpenCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, wire: peertest.NewWire(), auth: &Authority{
		CA: ca, Tokens: &tokens{m: map[string]TokenRecord{}}, Names: &names{m: map[Identity]string{}}, Deny: &DenyList{},
	}}
	if s.fe, err = s.auth.Credentials(t.Context(), fe1.Name); err != nil {
		t.Fatal(err)
	}
	return s
}

// host returns credentials of a host that joined.
func (s *site) host(id Identity) *Credentials {
	s.t.Helper()
	c, err := selfCredentials(s.t.Context(), s.auth, id)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// serve runs a server at the address of that name until the test ends.
func (s *site) serve(name string, o ServerOptions) {
	s.serveOn(s.wire.Listen(name), o)
}

func (s *site) serveOn(l net.Listener, o ServerOptions) (stop func()) {
	if o.Version == "" {
		o.Version = testVersion
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewServer(o).Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("server: %v", err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

// serveFrontEnd runs fe1 at "fe".
func (s *site) serveFrontEnd(h http.Handler) {
	s.serve("fe", ServerOptions{Credentials: s.fe, Open: s.auth, Handler: h})
}

// client returns one of who that calls peer at the address.
func (s *site) client(who *Credentials, address string, peer Identity) *Client {
	c := NewClient(ClientOptions{Address: address, Peer: peer, Credentials: who, Version: testVersion, Dial: s.wire.Dial})
	s.t.Cleanup(c.Close)
	return c
}

// token returns one as printed.
func (s *site) token(role Role, zone string) Token {
	s.t.Helper()
	t, err := s.auth.CreateToken(s.t.Context(), role, zone, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

func (s *site) join(o JoinOptions) (*Credentials, error) {
	if o.Address == "" {
		o.Address = "fe"
	}
	if o.Version == "" {
		o.Version = testVersion
	}
	if o.Dir == "" {
		o.Dir = s.t.TempDir()
	}
	o.Dial = s.wire.Dial
	return Join(s.t.Context(), o)
}

// whoami answers with the caller.
type whoAnswer struct{ Caller, Via string }

var whoami = Handle(func(ctx context.Context, _ struct{}) (whoAnswer, error) {
	a := whoAnswer{Caller: Caller(ctx).String()}
	if via := Via(ctx); via != (Identity{}) {
		a.Via = via.String()
	}
	return a, nil
})
