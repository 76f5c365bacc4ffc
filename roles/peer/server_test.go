package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCall(t *testing.T) {
	s := newSite(t)
	type msg struct{ A string }
	mux := http.NewServeMux()
	mux.Handle("POST /echo", Handle(func(_ context.Context, in msg) (msg, error) { return in, nil }))
	mux.Handle("GET /gone", Handle(func(context.Context, struct{}) (struct{}, error) {
		return struct{}{}, fmt.Errorf("look: %w", Errorf(http.StatusGone, "Gone", "it is gone"))
	}))
	mux.Handle("GET /broken", Handle(func(context.Context, struct{}) (struct{}, error) {
		return struct{}{}, errors.New("a secret of the server")
	}))
	mux.Handle("GET /heads", Only(whoami, Cluster))
	mux.HandleFunc("PUT /bytes", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proto", r.Proto)
		io.Copy(w, r.Body)
	})
	s.serveFrontEnd(mux)
	c := s.client(s.host(node1), "fe", fe1)
	var out msg
	if err := c.Call(t.Context(), "POST", "/echo", msg{"x"}, &out); err != nil || out.A != "x" {
		t.Errorf("echo = %v, %v", out, err)
	}
	wantCode(t, c.Call(t.Context(), "POST", "/echo", "no object", nil), BadRequest)
	wantCode(t, c.Call(t.Context(), "POST", "/echo", msg{strings.Repeat("x", maxBody)}, nil), BadRequest)
	wantCode(t, c.Call(t.Context(), "GET", "/heads", nil, nil), WrongRole)
	if err := c.Call(t.Context(), "GET", "/gone", nil, nil); ErrorCode(err) != "Gone" || err.Error() != "it is gone" {
		t.Errorf("error = %v", err)
	}
	err := c.Call(t.Context(), "GET", "/broken", nil, nil)
	wantCode(t, err, Internal)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the caller learns %q", err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "PUT", "/bytes?x=1", strings.NewReader("raw"))
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if string(b) != "raw" || res.Header.Get("Proto") != "HTTP/1.1" {
		t.Errorf("bytes = %q over %s", b, res.Header.Get("Proto"))
	}
}

// A client knows whom it called, and a server who may call.
func TestTrust(t *testing.T) {
	w := warnings(t)
	s, other := newSite(t), newSite(t)
	s.serveFrontEnd(whoami)
	s.serve("n1", ServerOptions{Credentials: s.host(node1), Handler: whoami})
	s.serve("other", ServerOptions{Credentials: other.fe, Handler: whoami})
	node := s.host(node1)

	forged := other.host(node1) // a good certificate, of another CA
	forged.ca = s.auth.CA.cert
	asClient := s.host(node1) // the certificate of one host and the key of another
	stolen := s.host(head1).cert
	asClient.cert = &tls.Certificate{Certificate: stolen.Certificate, Leaf: stolen.Leaf, PrivateKey: asClient.key}
	none := s.host(node1)
	none.cert = &tls.Certificate{Leaf: &x509.Certificate{}} // expired: presents none

	for _, tt := range []struct {
		name string
		c    *Client
		code string
	}{
		{"good", s.client(node, "fe", fe1), ""},
		{"forged", s.client(forged, "fe", fe1), OtherCloud},
		{"stolen without key", s.client(asClient, "fe", fe1), ""},
		{"no certificate", s.client(none, "fe", fe1), CertificateRequired},
		{"server of another cloud", s.client(node, "other", fe1), OtherCloud},
		{"other name", s.client(node, "fe", Identity{FrontEnd, "fe2", ""}), WrongHost},
		{"other role", s.client(node, "n1", Identity{Cluster, "n1", "az1"}), WrongHost},
		{"other zone", s.client(node, "n1", Identity{Node, "n1", "az2"}), WrongHost},
	} {
		err := tt.c.Call(t.Context(), "GET", "/", nil, nil)
		if tt.name == "stolen without key" {
			if err == nil {
				t.Errorf("%s: no error", tt.name)
			}
			continue // the peer's TLS ends the handshake
		}
		if ErrorCode(err) != tt.code || (err == nil) != (tt.code == "") {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.code)
		}
		if tt.code == OtherCloud && tt.name != "server of another cloud" || tt.code == CertificateRequired {
			w.says(t, "host refused", err)
		}
	}
	// The others are refused by who called, and who was called says so, too: fe,
	// n1 and other.
	w.await(t, "a host does not talk to this one", 3)
}

func TestCallerHeader(t *testing.T) {
	s := newSite(t)
	s.serveFrontEnd(whoami)
	for _, tt := range []struct {
		who  Identity
		by   string
		code string
	}{
		{head1, node1.String(), ""},
		{head1, node2.String(), WrongZone},
		{head1, fe1.String(), WrongZone},
		{head1, head2.String(), WrongZone},
		{head1, "root", BadRequest},
		{node1, node1.String(), WrongRole},
		{fe1, node1.String(), WrongRole},
	} {
		c := s.client(s.host(tt.who), "fe", fe1)
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "/", nil)
		req.Header.Set(callerHeader, tt.by)
		res, err := c.Do(req)
		if err == nil {
			res.Body.Close()
		}
		if ErrorCode(err) != tt.code {
			t.Errorf("%s for %s: %v, want %q", tt.who, tt.by, err, tt.code)
		}
	}
}

// Hosts of the previous minor version are talked to, in either direction, in
// calls and streams; who is further behind is told what to do.
func TestServerVersion(t *testing.T) {
	w := warnings(t)
	s := newSite(t)
	cr := s.host(node1)
	mux := http.NewServeMux()
	mux.Handle("GET /", whoami)
	mux.HandleFunc("GET /watch", func(w http.ResponseWriter, r *http.Request) {
		Stream(w, r, func(context.Context) (string, any, error) { return "1", 1, nil })
	})
	for server, tt := range map[string]struct{ code, words string }{
		"1.3.0": {},
		"1.5.0": {},
		"1.2.9": {VersionRefused, "eucad 1.2.9 is too old for 1.4.0: bring it to 1.3 first"},
		"1.6.0": {VersionRefused, "eucad 1.4.0 is too old for 1.6.0: bring it to 1.5 first"},
		"2.4.0": {VersionRefused, "they differ in the major version"},
	} {
		name := "fe" + server
		s.serve(name, ServerOptions{Credentials: s.fe, Version: server, Handler: mux})
		c := s.client(cr, name, fe1)
		err := c.Call(t.Context(), "GET", "/", nil, nil)
		wantCode(t, err, tt.code)
		if err != nil && !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %v", server, err)
		}
		if server == "1.6.0" { // it is the server that refuses
			w.says(t, "host refused", err)
		}
		if tt.code != "" {
			wantCode(t, c.Watch(t.Context(), "/watch", "", nil), tt.code)
			continue
		}
		seen := errors.New("seen")
		if err := c.Watch(t.Context(), "/watch", "", func(string, json.RawMessage) error { return seen }); err != seen {
			t.Errorf("watch at %s: %v", server, err)
		}
	}
}

// Who gets on the deny list is out: in what is open, in the next request, in
// the next connection.
func TestDeny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		mux := http.NewServeMux()
		ended := make(chan error, 1)
		mux.HandleFunc("GET /watch", func(w http.ResponseWriter, r *http.Request) {
			ended <- Stream(w, r, func(ctx context.Context) (string, any, error) {
				<-ctx.Done()
				return "", nil, ctx.Err()
			})
		})
		mux.Handle("GET /", whoami)
		s.serveFrontEnd(mux)
		cr := s.host(node1)
		c := s.client(cr, "fe", fe1)
		watched := make(chan error, 1)
		go func() { watched <- c.Watch(t.Context(), "/watch", "", nil) }()
		wantCode(t, c.Call(t.Context(), "GET", "/", nil, nil), "")
		synctest.Wait()

		s.auth.Deny.Set([]string{Serial(cr.Certificate())})
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("stream ended with %v", err)
		}
		wantCode(t, <-watched, Denied)
		c.Close()
		wantCode(t, s.client(cr, "fe", fe1).Call(t.Context(), "GET", "/", nil, nil), Denied)
		err := cr.renew(t.Context(), s.auth.Renew)
		wantCode(t, err, Denied)

		s.auth.Deny.Set(nil)
		wantCode(t, s.client(cr, "fe", fe1).Call(t.Context(), "GET", "/", nil, nil), "")

		// A node is denied behind its head too.
		s.auth.Deny.Set([]string{node1.String()})
		h := s.client(s.host(head1), "fe", fe1)
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "/", nil)
		req.Header.Set(callerHeader, node1.String())
		_, err = h.Do(req)
		wantCode(t, err, Denied)
	})
}

// What strangers may do is bounded.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.serveFrontEnd(whoami)
		ctx := t.Context()
		c := newClient(ClientOptions{Address: "fe:1", Version: testVersion, Dial: s.wire.Dial}, &tls.Config{InsecureSkipVerify: true})
		defer c.Close()
		wantCode(t, c.Call(ctx, "GET", "/join", nil, nil), CertificateRequired)
		wantCode(t, c.Call(ctx, "POST", "/joint", nil, nil), CertificateRequired)
		wantCode(t, c.Call(ctx, "POST", "/join", bytes.Repeat([]byte("x"), maxOpenBody), nil), BadRequest)
		n := 0
		for ; n < 1000; n++ {
			if err := c.Call(ctx, "POST", "/join", joinRequest{Token: "x", Host: node1}, nil); ErrorCode(err) != TokenUnknown {
				wantCode(t, err, TooManyRequests)
				break
			}
		}
		if n != openBurst-1 {
			t.Errorf("%d tries, want %d", n, openBurst-1)
		}
		time.Sleep(3 * time.Second)
		wantCode(t, c.Call(ctx, "POST", "/join", joinRequest{Token: "x", Host: node1}, nil), TokenUnknown)
	})
}

func TestLimiter(t *testing.T) {
	var l limiter
	now := time.Now()
	for i := range maxStrangers {
		if !l.allow(fmt.Sprintf("10.0.%d.%d:1", i>>8, i&255), now) {
			t.Fatal("refused before it is full")
		}
	}
	if l.allow("192.0.2.1:1", now) {
		t.Error("it remembers more than it may")
	}
	if !l.allow("192.0.2.1:1", now.Add(2*openEvery)) || len(l.full) != 1 {
		t.Errorf("it remembers %d that are long gone", len(l.full))
	}
	for range openBurst {
		l.allow("[2001:db8::1]:1", now)
	}
	if l.allow("[2001:db8::2]:1", now) {
		t.Error("a /64 is more than one")
	}
}

// A server that stops lets calls answer and does not wait for watches.
func TestServerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		mux := http.NewServeMux()
		mux.Handle("GET /slow", Handle(func(context.Context, struct{}) (string, error) {
			time.Sleep(2 * time.Second)
			return "done", nil
		}))
		mux.HandleFunc("GET /watch", func(w http.ResponseWriter, r *http.Request) {
			Stream(w, r, func(ctx context.Context) (string, any, error) {
				<-ctx.Done()
				return "", nil, ctx.Err()
			})
		})
		stop := s.serveOn(s.wire.Listen("fe"), ServerOptions{Credentials: s.fe, Handler: mux})
		c := s.client(s.host(node1), "fe", fe1)
		ctx, cancel := context.WithCancel(t.Context())
		watched := make(chan error, 1)
		go func() { watched <- c.Watch(ctx, "/watch", "", nil) }()
		called := make(chan string, 1)
		go func() {
			var out string
			c.Call(t.Context(), "GET", "/slow", nil, &out)
			called <- out
		}()
		synctest.Wait()
		start := time.Now()
		stop()
		if got := <-called; got != "done" {
			t.Errorf("the call got %q", got)
		}
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("it took %v to stop", d)
		}
		cancel()
		<-watched
	})
}
