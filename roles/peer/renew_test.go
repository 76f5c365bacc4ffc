package peer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A month of a host, of days that have an hour: its certificate is renewed at
// half of its life each time, and calls and a watch go on without noticing.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = time.Hour
		s := newSite(t)
		s.auth.Life = 7 * day
		var err error
		if s.fe, err = s.auth.Credentials(t.Context(), fe1.Name); err != nil {
			t.Fatal(err)
		}
		s.auth.Welcome = func(context.Context, Identity) (Welcome, error) {
			b, err := json.Marshal(time.Now())
			return Welcome{More: b}, err
		}
		mux := http.NewServeMux()
		mux.Handle("GET /", whoami)
		var watches atomic.Int32
		mux.HandleFunc("GET /watch", func(w http.ResponseWriter, r *http.Request) {
			watches.Add(1)
			Stream(w, r, func(ctx context.Context) (string, any, error) {
				<-ctx.Done()
				return "", nil, ctx.Err()
			})
		})
		s.serveFrontEnd(mux)
		dir := t.TempDir()
		cr, err := s.join(JoinOptions{Token: s.token(Node, "az1").String(), Name: "n1", Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		c := s.client(cr, "fe", fe1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 3)
		renewals := 0
		go func() {
			done <- cr.Run(ctx, func(ctx context.Context, in RenewRequest) (Issued, error) {
				renewals++
				return c.Renew(ctx, in)
			})
		}()
		go func() { done <- s.fe.Run(ctx, s.auth.Renew) }()
		go func() { done <- c.Watch(ctx, "/watch", "", nil) }()
		for i := range 30 {
			time.Sleep(day)
			wantCode(t, c.Call(ctx, "GET", "/", nil, nil), "")
			if left := time.Until(cr.Certificate().NotAfter); left < 3*day {
				t.Errorf("only %v left", left)
			}
			if n := watches.Load(); i < 6 && n != 1 {
				t.Fatalf("the watch began %d times by day %d", n, i+1)
			}
		}
		// A renewal each 3.5 days. What is open ends with the certificate that
		// opened it, and not before.
		if n := watches.Load(); renewals != 8 || n > 9 {
			t.Errorf("renewals = %d, want 8; watches = %d", renewals, n)
		}
		kept, err := LoadCredentials(dir)
		if err != nil || !kept.Certificate().Equal(cr.Certificate()) || string(kept.Welcome().More) != string(cr.Welcome().More) {
			t.Errorf("kept = %v, %v", kept, err)
		}
		cancel()
		for range cap(done) {
			<-done
		}
	})
}

// A host that was off for longer than its certificate lasts comes back, when
// it is not too long and it is still welcome.
func TestRenewExpired(t *testing.T) {
	for _, tt := range []struct {
		name string
		off  time.Duration
		deny bool
		code string
	}{
		{"a week late", 2 * CertificateLife, false, ""},
		{"too late", CertificateLife + renewGrace + time.Hour, false, CertificateExpired},
		{"denied", 2 * CertificateLife, true, Denied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				dir := t.TempDir()
				if _, err := s.join0(dir); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.off)
				var err error
				if s.fe, err = s.auth.Credentials(t.Context(), fe1.Name); err != nil { // it stayed on
					t.Fatal(err)
				}
				s.serveFrontEnd(whoami)
				if tt.deny {
					s.auth.Deny.Set([]string{node1.String()})
				}
				cr, err := LoadCredentials(dir)
				if err != nil {
					t.Fatal(err)
				}
				c := s.client(cr, "fe", fe1)
				wantCode(t, c.Call(t.Context(), "GET", "/", nil, nil), CertificateRequired)
				wantCode(t, cr.renew(t.Context(), c.Renew), tt.code)
				if tt.code == "" {
					wantCode(t, c.Call(t.Context(), "GET", "/", nil, nil), "")
				}
			})
		})
	}
}

// join0 joins node1 while there is a front end only for that.
func (s *site) join0(dir string) (*Credentials, error) {
	stop := s.serveOn(s.wire.Listen("fe"), ServerOptions{Credentials: s.fe, Open: s.auth})
	defer stop()
	return s.join(JoinOptions{Token: s.token(Node, "az1").String(), Name: "n1", Dir: dir})
}

func TestRenewRefused(t *testing.T) {
	s, other := newSite(t), newSite(t)
	cr, thief := s.host(node1), s.host(node2)
	csr, _ := newCSR(thief.key)
	_, err := s.auth.Renew(t.Context(), RenewRequest{cr.Certificate().Raw, csr})
	wantCode(t, err, BadRequest)
	_, err = s.auth.Renew(t.Context(), RenewRequest{[]byte("x"), csr})
	wantCode(t, err, BadRequest)
	_, err = s.auth.Renew(t.Context(), RenewRequest{cr.Certificate().Raw, []byte("x")})
	wantCode(t, err, BadRequest)
	wantCode(t, other.host(node1).renew(t.Context(), s.auth.Renew), OtherCloud)
	_, err = s.auth.Renew(t.Context(), RenewRequest{s.auth.CA.cert.Raw, csr})
	wantCode(t, err, OtherCloud)
	if err := cr.update(Issued{Certificate: thief.Certificate().Raw}); err == nil {
		t.Error("it took the certificate of another")
	}
}

// It tries again until it works, and does not hammer.
func TestRenewRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		cr := s.host(node1)
		end := cr.Certificate().NotAfter
		var tries atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- cr.Run(ctx, func(ctx context.Context, in RenewRequest) (Issued, error) {
				tries.Add(1)
				if time.Now().Before(end.Add(24 * time.Hour)) {
					return Issued{}, errors.New("no front end in reach")
				}
				return s.auth.Renew(ctx, in)
			})
		}()
		time.Sleep(time.Until(end.Add(24*time.Hour + renewRetryMax)))
		if left := time.Until(cr.Certificate().NotAfter); left < 6*24*time.Hour {
			t.Errorf("only %v left", left)
		}
		if n := tries.Load(); n < 500 || n > 1400 {
			t.Errorf("tries = %d in 4.5 days", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
