package peer

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestJoin(t *testing.T) {
	s := newSite(t)
	s.auth.Welcome = func(_ context.Context, id Identity) (Welcome, error) {
		return Welcome{LAN: [][]byte{[]byte("key of " + id.Zone)}, More: []byte(`{"epoch":7}`)}, nil
	}
	s.serveFrontEnd(whoami)
	dir := filepath.Join(t.TempDir(), "host")
	if _, err := LoadCredentials(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadCredentials = %v before it joined", err)
	}
	tok := s.token(Node, "az1")
	c, err := s.join(JoinOptions{Token: tok.String(), Name: "n1", Role: Node, Zone: "az1", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // as it joined, and as it starts again
		if c.Identity() != node1 {
			t.Errorf("identity = %v", c.Identity())
		}
		w := c.Welcome()
		if len(w.LAN) != 1 || string(w.LAN[0]) != "key of az1" || string(w.More) != `{"epoch":7}` {
			t.Errorf("welcome = %+v", w)
		}
		server, address := c.Server()
		if server != fe1 || address != "fe" {
			t.Errorf("server = %v at %q", server, address)
		}
		var who whoAnswer
		if err := s.client(c, address, server).Call(t.Context(), "GET", "/x", nil, &who); err != nil || who.Caller != node1.String() {
			t.Errorf("call = %+v, %v", who, err)
		}
		if c, err = LoadCredentials(dir); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 2 {
		t.Errorf("files = %v", files)
	}
	for _, f := range files {
		if i, _ := f.Info(); i.Mode() != 0o600 {
			t.Errorf("mode of %s = %v", f.Name(), i.Mode())
		}
	}
	r, _, _ := s.auth.Tokens.Find(t.Context(), tok.ID)
	if r.Used.IsZero() || !strings.HasPrefix(r.UsedBy, node1.String()+" ") || strings.Contains(r.Hash, string(tok.Secret[:])) {
		t.Errorf("record = %+v", r)
	}
}

// Each refusal is a code and a sentence, the same on both sides, and leaves the
// token as it was. What the host itself finds out, it doesn't bother others with.
func TestJoinRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(s *site, tok *Token, o *JoinOptions)
		code string
		own  bool // found out by the host
	}{
		{"malformed", func(_ *site, _ *Token, o *JoinOptions) { o.Token = "eucad1.x" }, TokenMalformed, true},
		{"unknown", func(_ *site, tok *Token, _ *JoinOptions) { tok.ID = "0011223344556677" }, TokenUnknown, false},
		{"guessed", func(_ *site, tok *Token, _ *JoinOptions) { tok.Secret[0] ^= 1 }, TokenUnknown, false},
		{"expired", func(*site, *Token, *JoinOptions) { time.Sleep(time.Hour) }, TokenExpired, false},
		{"revoked", func(s *site, tok *Token, _ *JoinOptions) {
			s.auth.Tokens.Revoke(s.t.Context(), tok.ID, time.Now())
		}, TokenRevoked, false},
		{"wrong role", func(_ *site, _ *Token, o *JoinOptions) { o.Role = Cluster }, WrongRole, true},
		{"wrong zone", func(_ *site, _ *Token, o *JoinOptions) { o.Zone = "az2" }, WrongZone, true},
		{"forged role", func(_ *site, tok *Token, _ *JoinOptions) { tok.Role = Cluster }, WrongRole, false},
		{"forged zone", func(_ *site, tok *Token, _ *JoinOptions) { tok.Zone = "az2" }, WrongZone, false},
		{"bad name", func(_ *site, _ *Token, o *JoinOptions) { o.Name = "a/b" }, BadRequest, true},
		{"name taken", func(s *site, _ *Token, _ *JoinOptions) { s.auth.Names.Claim(s.t.Context(), node1, "k") }, NameTaken, false},
		{"denied", func(s *site, _ *Token, _ *JoinOptions) { s.auth.Deny.Set([]string{node1.String()}) }, Denied, false},
		{"old version", func(_ *site, _ *Token, o *JoinOptions) { o.Version = "1.2.0" }, VersionRefused, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := warnings(t)
				s := newSite(t)
				s.serveFrontEnd(nil)
				tok := s.token(Node, "az1")
				id := tok.ID
				o := JoinOptions{Name: "n1"}
				tt.do(s, &tok, &o)
				if o.Token == "" {
					o.Token = tok.String()
				}
				c, err := s.join(o)
				wantCode(t, err, tt.code)
				if !tt.own {
					w.says(t, "host refused", err)
				}
				if c != nil {
					t.Error("and yet it joined")
				}
				if r, _, _ := s.auth.Tokens.Find(t.Context(), id); !r.Used.IsZero() {
					t.Error("the token is used")
				}
			})
		})
	}
}

// A token works once; only the host that used it may ask again, for it may not
// have got the answer.
func TestJoinReplayed(t *testing.T) {
	s := newSite(t)
	s.serveFrontEnd(nil)
	tok := s.token(Node, "az1").String()
	dir := t.TempDir()
	first, err := s.join(JoinOptions{Token: tok, Name: "n1", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.join(JoinOptions{Token: tok, Name: "n1", Dir: dir})
	wantCode(t, err, "")
	if again != nil && !again.key.Equal(first.key) {
		t.Error("it has a new key")
	}
	_, err = s.join(JoinOptions{Token: tok, Name: "n1"}) // another host
	wantCode(t, err, TokenUsed)
	_, err = s.join(JoinOptions{Token: tok, Name: "n2", Dir: dir}) // another name
	wantCode(t, err, TokenUsed)
	_, err = s.join(JoinOptions{Token: s.token(Node, "az1").String(), Name: "n1"})
	wantCode(t, err, NameTaken)
	_, err = s.join(JoinOptions{Token: s.token(Node, "az1").String(), Name: "n1", Dir: dir})
	wantCode(t, err, "")
}

func TestJoinRace(t *testing.T) {
	s := newSite(t)
	s.serveFrontEnd(nil)
	tok := s.token(Node, "az1").String()
	var wg sync.WaitGroup
	var won, lost atomic.Int32
	for _, name := range []string{"n1", "n1", "n2", "n3", "n4", "n5"} {
		wg.Go(func() {
			_, err := s.join(JoinOptions{Token: tok, Name: name})
			switch ErrorCode(err) {
			case "":
				won.Add(1)
			case TokenUsed, NameTaken:
				lost.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 5 {
		t.Errorf("won = %d, lost = %d", won.Load(), lost.Load())
	}
}

// The secret goes to nobody but the cloud that made it.
func TestJoinOtherCloud(t *testing.T) {
	s, other := newSite(t), newSite(t)
	var asked atomic.Int32
	spy := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	s.serve("other", ServerOptions{Credentials: other.fe, Open: spy})
	// One who shows our CA's certificate, without one by it.
	liar := other.host(fe1)
	liar.cert.Certificate[1] = s.auth.CA.cert.Raw
	s.serve("liar", ServerOptions{Credentials: liar, Open: spy})
	s.serve("node", ServerOptions{Credentials: s.host(node1), Open: spy})
	s.serve("head2", ServerOptions{Credentials: s.host(head2), Open: spy})
	for address, code := range map[string]string{"other": OtherCloud, "liar": OtherCloud, "node": WrongHost, "head2": WrongHost} {
		_, err := s.join(JoinOptions{Token: s.token(Node, "az1").String(), Name: "n1", Address: address})
		wantCode(t, err, code)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	_, err := s.join(JoinOptions{Token: s.token(Node, "az1").String(), Name: "n1", Address: "nowhere"})
	if err == nil || errors.As(err, new(*Error)) {
		t.Errorf("error = %v, want one that is no refusal", err)
	}
}
