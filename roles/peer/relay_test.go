package peer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// relayed is a front end, a head, and a node behind it.
type relayed struct {
	*site
	down *Client // of the front end, to node1
	up   *Client // of node1, to the front end
}

// newRelayed serves h on front end and node. listen gives each a listener and
// its address; nil is the wire.
func newRelayed(t testing.TB, h http.Handler, listen func(name string) (net.Listener, string)) *relayed {
	s := newSite(t)
	head, node := s.host(head1), s.host(node1)
	dial := s.wire.Dial
	if listen == nil {
		listen = func(name string) (net.Listener, string) { return s.wire.Listen(name), name + ":1" }
	} else {
		dial = nil
	}
	feL, feAddr := listen("fe")
	headL, headAddr := listen("head")
	nodeL, nodeAddr := listen("node")
	client := func(who *Credentials, address string, peer Identity) *Client {
		c := NewClient(ClientOptions{Address: address, Peer: peer, Credentials: who, Version: testVersion, Dial: dial})
		t.Cleanup(c.Close)
		return c
	}
	toFE, toNode := client(head, feAddr, fe1), client(head, nodeAddr, node1)
	ghost := client(head, "192.0.2.1:1", Identity{Node, "ghost", "az1"})
	y := &Relay{Self: head1, FrontEnd: func() *Client { return toFE }, Node: func(name string) *Client {
		return map[string]*Client{"n1": toNode, "ghost": ghost, "loop": client(head, headAddr, head1).Under("/node/loop")}[name]
	}}
	s.serveOn(feL, ServerOptions{Credentials: s.fe, Handler: h})
	s.serveOn(headL, ServerOptions{Credentials: head, Handler: y})
	s.serveOn(nodeL, ServerOptions{Credentials: node, Handler: h})
	return &relayed{
		site: s,
		down: client(s.fe, headAddr, head1).Under("/node/n1"),
		up:   client(node, headAddr, head1).Under("/frontend"),
	}
}

func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /who", func(w http.ResponseWriter, r *http.Request) {
			if v := r.Header.Values(versionHeader); len(v) != 1 || r.URL.RawQuery != "q=1" {
				t.Errorf("versions = %q, query = %q", v, r.URL.RawQuery)
			}
			whoami(w, r)
		})
		s := newRelayed(t, mux, nil)
		for c, want := range map[*Client]whoAnswer{
			s.down: {Caller: head1.String()}, // a node trusts its head
			s.up:   {Caller: node1.String(), Via: head1.String()},
		} {
			var got whoAnswer
			if err := c.Call(t.Context(), "GET", "/who?q=1", nil, &got); err != nil || got != want {
				t.Errorf("caller = %+v, %v, want %+v", got, err, want)
			}
		}
		refused := func(id Identity, path, code string) {
			t.Helper()
			c := s.client(s.host(id), "head", head1)
			req, _ := http.NewRequestWithContext(t.Context(), "GET", path, nil)
			req.Header.Set(hopsHeader, "0")
			res, err := c.Do(req)
			if err == nil {
				res.Body.Close()
			}
			wantCode(t, err, code)
		}
		refused(node1, "/node/n1/who", WrongRole)
		refused(head2, "/node/n1/who", WrongRole)
		refused(head2, "/frontend/who", WrongRole)
		refused(fe1, "/frontend/who", WrongRole)
		refused(node2, "/frontend/who", WrongZone)
		refused(fe1, "/node/n9/who", Unreachable)
		refused(fe1, "/node/ghost/who", Unreachable)
		refused(fe1, "/node/", Unreachable)
		refused(fe1, "/other", NotFound)
		refused(fe1, "/node/loop/who", WrongRole) // a head is no front end

		// A node cannot speak for another through its head.
		c := s.up
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "/who?q=1", nil)
		req.Header.Set(callerHeader, "eucad://node/az1/n7")
		_, err := c.Do(req)
		wantCode(t, err, WrongRole)

		req, _ = http.NewRequestWithContext(t.Context(), "GET", "/who", nil)
		req.Header.Set(hopsHeader, "2")
		_, err = s.down.Do(req)
		wantCode(t, err, TooManyHops)
	})
}

// A watch through a relay goes on as one without; when the relay is up and
// what is behind it dead, that is noticed too.
func TestRelayStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		mux := http.NewServeMux()
		mux.Handle("GET /feed", f)
		s := newRelayed(t, mux, nil)
		ctx, cancel := context.WithCancel(t.Context())
		w := watchFeed(t, ctx, s.up)
		f.grow(1000)
		w.reaches(1000, time.Second)
		for i := range int64(5) {
			time.Sleep(time.Minute)
			f.grow(1)
			if d := w.reaches(1001+i, time.Second); d > 50*time.Millisecond {
				t.Errorf("a line took %v", d)
			}
			if i%2 == 0 {
				s.wire.Lose()
				time.Sleep(time.Minute)
			}
		}
		cancel()
		if err := <-w.done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Who stops reading ends the stream of the server behind the relay.
func TestRelaySlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		long := bytes.Repeat([]byte("x"), 1<<20)
		s := newRelayed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ended <- Stream(w, r, func(context.Context) (string, any, error) { return "1", long, nil })
		}), nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- s.up.Watch(ctx, "/feed", "", func(string, json.RawMessage) error { <-ctx.Done(); return nil })
		}()
		start := time.Now()
		if err := <-ended; err == nil || time.Since(start) > 2*relayWriteTime {
			t.Errorf("ended after %v with %v", time.Since(start), err)
		}
		cancel()
		<-done
	})
}

func loopback(t testing.TB) func(string) (net.Listener, string) {
	return func(string) (net.Listener, string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l, l.Addr().String()
	}
}

// 64 MiB pass through the head both ways, unchanged and not gathered there.
func TestRelayBulk(t *testing.T) {
	const size = 64 << 20
	send := func(w io.Writer) [sha256.Size]byte {
		h := sha256.New()
		r := rand.NewChaCha8([32]byte{1})
		if _, err := io.CopyN(io.MultiWriter(w, h), r, size); err != nil {
			t.Error(err)
		}
		return [sha256.Size]byte(h.Sum(nil))
	}
	receive := func(r io.Reader) [sha256.Size]byte {
		h := sha256.New()
		if n, err := io.Copy(h, r); n != size || err != nil {
			t.Errorf("%d bytes came, %v", n, err)
		}
		return [sha256.Size]byte(h.Sum(nil))
	}
	sums := make(chan [sha256.Size]byte, 2)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /image", func(w http.ResponseWriter, r *http.Request) { sums <- send(w) })
	mux.HandleFunc("PUT /image", func(w http.ResponseWriter, r *http.Request) { sums <- receive(r.Body) })
	s := newRelayed(t, mux, loopback(t))
	for _, c := range []*Client{s.down, s.up} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "/image", nil)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := receive(res.Body); got != <-sums {
			t.Error("the image differs")
		}
		res.Body.Close()
		pr, pw := io.Pipe()
		go func() {
			sums <- send(pw)
			pw.Close()
		}()
		req, _ = http.NewRequestWithContext(t.Context(), "PUT", "/image", pr)
		if res, err = c.Do(req); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if a, b := <-sums, <-sums; a != b {
			t.Error("the image differs")
		}
	}
}

// An answer that breaks off behind the relay breaks off before it: nobody
// takes half an image for a whole one.
func TestRelayBreaksOff(t *testing.T) {
	s := newRelayed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 1<<20))
		panic(http.ErrAbortHandler)
	}), loopback(t))
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "/image", nil)
	res, err := s.down.Do(req)
	if err != nil {
		return // before the header
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Error("the body seems whole")
	}
}

// A node whose network ends at the head joins and renews through it.
func TestJoinThroughHead(t *testing.T) {
	s := newSite(t)
	s.serveFrontEnd(nil)
	for name, id := range map[string]Identity{"head": head1, "head2": head2} {
		cr := s.host(id)
		fe := s.client(cr, "fe", fe1)
		y := &Relay{Self: id, FrontEnd: func() *Client { return fe }}
		s.serve(name, ServerOptions{Credentials: cr, Open: y.Open(), Handler: y})
	}
	c, err := s.join(JoinOptions{Token: s.token(Node, "az1").String(), Name: "n1", Address: "head"})
	if err != nil {
		t.Fatal(err)
	}
	if server, _ := c.Server(); server != head1 {
		t.Errorf("server = %v", server)
	}
	old := c.Certificate()
	if err := c.renew(t.Context(), s.client(c, "head", head1).Renew); err != nil {
		t.Fatal(err)
	}
	if c.Certificate() == old {
		t.Error("the certificate is the old one")
	}
	// The head of another zone speaks for its own.
	err = c.renew(t.Context(), s.client(c, "head2", head2).Renew)
	wantCode(t, err, WrongZone)
	_, err = s.join(JoinOptions{Token: s.token(Cluster, "az1").String(), Name: "h", Address: "head"})
	wantCode(t, err, WrongHost)
}
