package frontend

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"eucad/roles/peer"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

const testVersion = "1.2.0"

// logged is all that this process logged: front ends log as they do in service.
var logged logBuffer

type logBuffer struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logBuffer) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.all.String(), part)
}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	os.Exit(m.Run())
}

// nextHost makes addresses of this test's own, so that gossip, whose ports follow
// that of the server, has them free.
var nextHost atomic.Uint32

func loopback() string {
	n := nextHost.Add(1)
	return fmt.Sprintf("127.%d.%d.%d:8774", 64+os.Getpid()%64, os.Getpid()/64%256, n)
}

// A site is a front end that runs, and the hosts that meet it.
type site struct {
	t    *testing.T
	opt  Options
	f    *FrontEnd
	stop func()
}

func newSite(t *testing.T, change ...func(*Options)) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "eucad") // a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, opt: Options{
		Dir: dir, Listen: "127.0.0.1:0", Region: "eucad-1", Domain: "eucad.internal", Name: "front-" + fmt.Sprint(nextHost.Add(1)),
		Version: testVersion, PeerListen: loopback(), Types: cloud.NewTypes(), PublicPool: netip.MustParsePrefix("198.18.0.0/16"),
		Overcommit: cloud.Overcommit{CPU: 1, Memory: 1, Disk: 1},
		ImagePath:  func(string) (string, bool) { return "", false },
		Console: func(context.Context, cloud.Instance) ([]byte, time.Time, error) {
			return nil, time.Time{}, ErrNotHere
		},
	}}
	for _, c := range change {
		c(&s.opt)
	}
	s.start()
	t.Cleanup(func() {
		s.stop()
		os.RemoveAll(dir)
	})
	return s
}

// start starts the front end, as after a stop.
func (s *site) start() {
	s.t.Helper()
	f, err := Open(s.t.Context(), s.opt)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	s.f = f
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("front end: %v", err)
		}
		if err := f.Close(); err != nil {
			s.t.Errorf("close: %v", err)
		}
	})
}

func (s *site) token(role peer.Role, zone string) string {
	s.t.Helper()
	t, err := s.f.peers.CreateToken(s.t.Context(), string(role), zone, "", time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

func (s *site) try(o peer.JoinOptions) (*peer.Credentials, error) {
	if o.Version == "" {
		o.Version = testVersion
	}
	if o.Dir == "" {
		o.Dir = s.t.TempDir()
	}
	o.Address = s.opt.PeerListen
	return peer.Join(s.t.Context(), o)
}

// A host is one that joined.
type host struct {
	s     *site
	id    peer.Identity
	creds *peer.Credentials
	*peer.Client
}

func (s *site) join(role peer.Role, zone, name string) *host {
	s.t.Helper()
	creds, err := s.try(peer.JoinOptions{Token: s.token(role, zone), Name: name})
	if err != nil {
		s.t.Fatal(err)
	}
	return &host{s, creds.Identity(), creds, s.client(creds, testVersion)}
}

func (s *site) client(creds *peer.Credentials, version string) *peer.Client {
	c := peer.NewClient(peer.ClientOptions{Address: s.opt.PeerListen, Peer: s.f.peers.creds.Identity(), Credentials: creds, Version: version})
	s.t.Cleanup(c.Close)
	return c
}

// head has the host say that it is its zone's head, with these public addresses.
func (h *host) head(own string) error {
	in := plan.Hello{Version: testVersion, Net: cloud.Net{Addr: "127.0.0.1:9"}, Cluster: &plan.ClusterHello{Regime: plan.Edge}}
	if own != "" {
		in.Cluster.PublicRange = netip.MustParsePrefix(own)
	}
	return h.Call(h.s.t.Context(), "POST", plan.HelloPath, in, nil)
}

// refused checks that err is a refusal in these words, and that the front end's
// log has them, too.
func refused(t *testing.T, err error, words string) {
	t.Helper()
	switch {
	case err == nil || !strings.Contains(err.Error(), words):
		t.Errorf("the host is told %v, want %q", err, words)
	case peer.ErrorCode(err) == "":
		t.Errorf("%v is no refusal", err)
	case !logged.has("err=" + strconv.Quote(err.Error())):
		t.Errorf("the front end's log does not say %q", err)
	}
}

func (s *site) write(fn func(store.Tx) error) {
	s.t.Helper()
	if err := s.f.db.Write(s.t.Context(), fn); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) cluster(zone string) (c cloud.Cluster) {
	s.t.Helper()
	err := s.f.db.Read(s.t.Context(), func(rx store.Rx) (err error) {
		c, _, err = rx.Cluster(s.t.Context(), zone)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// eventually waits until f is true.
func eventually(t *testing.T, f func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("it does not come to pass")
		}
	}
}
