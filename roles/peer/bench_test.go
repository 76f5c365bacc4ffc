package peer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
)

type benchRequest struct {
	ID    string
	Disks []string
	Tags  map[string]string
}

type benchAnswer struct {
	State string
	IPs   []string
}

// benchSite serves on loopback, directly and through a head.
func benchSite(b *testing.B) (direct, relayed *Client) {
	block := make([]byte, 1<<20)
	mux := http.NewServeMux()
	mux.Handle("POST /call", Handle(func(_ context.Context, in benchRequest) (benchAnswer, error) {
		return benchAnswer{in.ID, in.Disks}, nil
	}))
	mux.HandleFunc("GET /bytes", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("mib"))
		for range n {
			w.Write(block)
		}
	})
	mux.HandleFunc("GET /lines", func(w http.ResponseWriter, r *http.Request) {
		Stream(w, r, func(context.Context) (string, any, error) { return "1", benchAnswer{State: "running"}, nil })
	})
	s := newRelayed(b, mux, loopback(b))
	l, addr := loopback(b)("")
	s.serveOn(l, ServerOptions{Credentials: s.fe, Handler: mux})
	direct = NewClient(ClientOptions{Address: addr, Peer: fe1, Credentials: s.host(node1), Version: testVersion})
	b.Cleanup(direct.Close)
	return direct, s.up
}

func benchBoth(b *testing.B, f func(*testing.B, *Client)) {
	direct, relayed := benchSite(b)
	b.Run("direct", func(b *testing.B) { f(b, direct) })
	b.Run("relay", func(b *testing.B) { f(b, relayed) })
}

// BenchmarkCall is one small call after the other.
func BenchmarkCall(b *testing.B) {
	benchBoth(b, func(b *testing.B, c *Client) {
		in := benchRequest{"i-0123456789abcdef0", []string{"vol-1", "vol-2"}, map[string]string{"a": "b"}}
		b.ReportAllocs()
		for b.Loop() {
			var out benchAnswer
			if err := c.Call(context.Background(), "POST", "/call", in, &out); err != nil || out.State != in.ID {
				b.Fatal(out, err)
			}
		}
	})
}

// BenchmarkBulk is an image of 256 MiB.
func BenchmarkBulk(b *testing.B) {
	benchBoth(b, func(b *testing.B, c *Client) {
		const mib = 256
		b.SetBytes(mib << 20)
		buf := make([]byte, 256<<10)
		for b.Loop() {
			req, _ := http.NewRequest("GET", "/bytes?mib="+strconv.Itoa(mib), nil)
			res, err := c.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, res.Body, buf)
			if err != nil || n != mib<<20 {
				b.Fatal(n, err)
			}
			res.Body.Close()
		}
	})
}

// BenchmarkStream is a line of a watch that has much to say.
func BenchmarkStream(b *testing.B) {
	benchBoth(b, func(b *testing.B, c *Client) {
		b.ReportAllocs()
		done := errors.New("done")
		n := 0
		if err := c.Watch(context.Background(), "/lines", "", func(string, json.RawMessage) error {
			if n++; n > b.N {
				return done
			}
			return nil
		}); err != done {
			b.Fatal(err)
		}
	})
}
