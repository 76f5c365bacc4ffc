package peer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A feed is numbers from 1 on, one more each time it is told to grow.
type feed struct {
	mu   sync.Mutex
	n    int
	more chan struct{} // closed when n grows
}

func newFeed() *feed { return &feed{more: make(chan struct{})} }

func (f *feed) grow(by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n += by
	close(f.more)
	f.more = make(chan struct{})
}

// ServeHTTP streams the numbers after the position.
func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, _ := strconv.Atoi(Since(r))
	Stream(w, r, func(ctx context.Context) (string, any, error) {
		for {
			f.mu.Lock()
			n, more := f.n, f.more
			f.mu.Unlock()
			if at < n {
				at++
				return strconv.Itoa(at), at, nil
			}
			select {
			case <-more:
			case <-ctx.Done():
				return "", nil, ctx.Err()
			}
		}
	})
}

// A watcher checks that each number comes once, in order.
type watcher struct {
	t    *testing.T
	last atomic.Int64
	done chan error
}

func watchFeed(t *testing.T, ctx context.Context, c *Client) *watcher {
	w := &watcher{t: t, done: make(chan error, 1)}
	go func() {
		w.done <- c.Watch(ctx, "/feed?x=1", "", func(at string, data json.RawMessage) error {
			var n int64
			if err := json.Unmarshal(data, &n); err != nil || n != w.last.Load()+1 || at != strconv.FormatInt(n, 10) {
				t.Errorf("line %s %s after %d", at, data, w.last.Load())
			}
			w.last.Store(n)
			return nil
		})
	}()
	return w
}

// reaches waits until number n came, and returns how long that took.
func (w *watcher) reaches(n int64, most time.Duration) time.Duration {
	w.t.Helper()
	start := time.Now()
	for w.last.Load() < n {
		if time.Since(start) > most {
			w.t.Fatalf("at %d after %v, want %d", w.last.Load(), most, n)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

// A watch comes through a network that fails in all ways, and loses nothing.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		f := newFeed()
		mux := http.NewServeMux()
		mux.Handle("GET /feed", f)
		serve := func() (stop func()) {
			return s.serveOn(s.wire.Listen("fe"), ServerOptions{Credentials: s.fe, Handler: mux})
		}
		stop := serve()
		c := s.client(s.host(node1), "fe", fe1)
		ctx, cancel := context.WithCancel(t.Context())
		w := watchFeed(t, ctx, c)
		f.grow(1000)
		w.reaches(1000, time.Second)

		dialed := s.wire.Dialed()
		time.Sleep(time.Hour)
		f.grow(1)
		w.reaches(1001, time.Second)
		if n := s.wire.Dialed() - dialed; n != 0 {
			t.Errorf("%d connections in a quiet hour", n)
		}

		s.wire.Cut()
		f.grow(1)
		if d := w.reaches(1002, time.Minute); d > time.Second {
			t.Errorf("back %v after a cut", d)
		}

		s.wire.Lose()
		f.grow(1)
		if d := w.reaches(1003, time.Minute); d > silence+2*time.Second {
			t.Errorf("back %v after the connection went dead", d)
		}

		s.wire.SetDelay(2 * time.Second) // slow is not dead
		dialed = s.wire.Dialed()
		time.Sleep(time.Minute)
		f.grow(5)
		w.reaches(1008, 10*time.Second)
		if n := s.wire.Dialed() - dialed; n != 0 {
			t.Errorf("%d connections while it was slow", n)
		}
		s.wire.SetDelay(0)

		stop() // for an hour
		time.Sleep(time.Minute)
		dialed = s.wire.Dialed()
		time.Sleep(time.Hour)
		if n := s.wire.Dialed() - dialed; n < 200 || n > 600 {
			t.Errorf("%d tries in an hour", n)
		}
		serve()
		f.grow(1)
		w.reaches(1009, watchRetryMax+time.Second)

		for i := range int64(50) { // the back-off began anew
			s.wire.Cut()
			f.grow(1)
			w.reaches(1010+i, time.Second)
		}
		cancel()
		if err := <-w.done; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// silent is a server that answers and then says nothing, also no heartbeat.
func TestWatchSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var asked atomic.Int32
		s.serveFrontEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}))
		c := s.client(s.host(node1), "fe", fe1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c.Watch(ctx, "/feed", "", nil)
		if n := asked.Load(); n < 3 || n > 4 {
			t.Errorf("asked %d times in a minute of silence", n)
		}
	})
}

func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var n atomic.Int32
		end := func(err error) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				sent := Since(r) != ""
				Stream(w, r, func(context.Context) (string, any, error) {
					if sent {
						return "", nil, err
					}
					sent = true
					n.Add(1)
					return "1", "x", nil
				})
			}
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /eof", end(io.EOF))
		mux.HandleFunc("GET /gone", end(Errorf(http.StatusGone, "Gone", "start again")))
		mux.HandleFunc("GET /broken", end(errors.New("broken")))
		s.serveFrontEnd(mux)
		c := s.client(s.host(node1), "fe", fe1)
		watch := func(path string, f func(string, json.RawMessage) error) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return c.Watch(ctx, path, "", f)
		}
		take := func(string, json.RawMessage) error { return nil }
		wantCode(t, watch("/gone", take), "Gone")
		wantCode(t, watch("/nowhere", take), Internal) // net/http's 404 is no JSON
		for _, path := range []string{"/eof", "/broken"} {
			n.Store(0)
			if err := watch(path, take); !errors.Is(err, context.DeadlineExceeded) || n.Load() != 1 {
				t.Errorf("%s: %v, %d lines", path, err, n.Load())
			}
		}
		failed := errors.New("cannot apply")
		if err := watch("/eof", func(string, json.RawMessage) error { return failed }); err != failed {
			t.Errorf("ended with %v", err)
		}
	})
}

// Who does not read is cut off; who reads slowly is not.
func TestSlowReader(t *testing.T) {
	for _, two := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			ended := make(chan error, 1)
			long := strings.Repeat("x", 1<<20)
			s.serveFrontEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ended <- Stream(w, r, func(context.Context) (string, any, error) { return "1", long, nil })
			}))
			c := s.client(s.host(node1), "fe", fe1)
			tr := c.bulk
			if two {
				tr = c.calls
			}
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "/", nil)
			res, err := c.do(tr, req)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			buf := make([]byte, 16<<10)
			for range 100 {
				time.Sleep(time.Second)
				if _, err := io.ReadFull(res.Body, buf); err != nil {
					t.Fatalf("slow reader: %v", err)
				}
			}
			select {
			case err := <-ended:
				t.Fatalf("the slow reader was cut off after %v: %v", time.Since(start), err)
			default:
			}
			start = time.Now()
			err = <-ended
			if d := time.Since(start); err == nil || d > 2*writeTime { // the network holds some
				t.Errorf("HTTP/2 %v: ended after %v with %v", two, d, err)
			}
			res.Body.Close()
		})
	}
}
