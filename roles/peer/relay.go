package peer

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	hopsHeader = "Eucad-Hops" // relays behind a request
	maxHops    = 2            // one is usual

	frontEndPrefix = "/frontend/"
	nodePrefix     = "/node/"

	// relayWriteTime is how long whoever reads through a relay may be slow.
	relayWriteTime = 30 * time.Second
)

// A Relay is the handler of a cluster's head that passes requests on: those
// for /node/<name>/… from a front end to that node, and those for /frontend/…
// from a node to the front end, which learns from the head who calls. Streams
// and bytes pass through as they come.
type Relay struct {
	Self     Identity                  // the head's
	Node     func(name string) *Client // of a node of the zone; nil for one that is not known
	FrontEnd func() *Client            // nil while there is none in reach
}

// ServeHTTP passes a request on. It is for the paths that begin with /node/
// and /frontend/.
func (y *Relay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, path, err := y.route(r)
	if err == nil {
		err = pass(w, r, to, path, Caller(r.Context()))
	}
	if err != nil {
		writeError(w, r, err)
	}
}

// Open passes POST /join and POST /renew of hosts that reach only the head on
// to the front end: see ServerOptions.Open.
func (y *Relay) Open() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The body says who asks, and proves it.
		r.Body = http.MaxBytesReader(w, r.Body, maxOpenBody)
		to, err := y.frontEnd()
		if err == nil {
			err = pass(w, r, to, r.URL.Path, Identity{})
		}
		if err != nil {
			writeError(w, r, err)
		}
	})
}

// route returns who gets the request, and the path there.
func (y *Relay) route(r *http.Request) (*Client, string, error) {
	id := Caller(r.Context())
	if rest, ok := strings.CutPrefix(r.URL.Path, nodePrefix); ok {
		name, path, _ := strings.Cut(rest, "/")
		if id.Role != FrontEnd {
			return nil, "", errRole(id, r)
		}
		to := y.Node(name)
		if to == nil {
			return nil, "", Errorf(http.StatusBadGateway, Unreachable, "the head of %s knows no node %q", y.Self.Zone, clip(name))
		}
		return to, "/" + path, nil
	}
	path, ok := strings.CutPrefix(r.URL.Path, frontEndPrefix)
	if !ok {
		return nil, "", errNoPath(r)
	}
	if id.Role != Node {
		return nil, "", errRole(id, r)
	}
	if id.Zone != y.Self.Zone {
		return nil, "", Errorf(http.StatusForbidden, WrongZone, "%s is no node of zone %s", id, y.Self.Zone)
	}
	to, err := y.frontEnd()
	return to, "/" + path, err
}

func (y *Relay) frontEnd() (*Client, error) {
	if to := y.FrontEnd(); to != nil {
		return to, nil
	}
	return nil, Errorf(http.StatusServiceUnavailable, Unreachable, "the head of %s has no front end in reach", y.Self.Zone)
}

// pass sends the request to the peer of the client, on behalf of a node if
// there is one, and its answer back. It keeps the caller's version of HTTP,
// which was chosen for what is sent.
func pass(w http.ResponseWriter, r *http.Request, to *Client, path string, by Identity) error {
	hops, _ := strconv.Atoi(r.Header.Get(hopsHeader))
	if hops++; hops > maxHops {
		return Errorf(http.StatusLoopDetected, TooManyHops, "the request went through %d relays", hops)
	}
	t := to.bulk
	if r.ProtoMajor == 2 {
		t = to.calls
	}
	addr := to.at.now()
	p := httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL = &url.URL{Scheme: "https", Host: addr, Path: to.prefix + path, RawQuery: r.URL.RawQuery}
			pr.Out.Host = ""
			pr.Out.Header.Set(hopsHeader, strconv.Itoa(hops))
			pr.Out.Header.Del(callerHeader)
			if by.Role == Node {
				pr.Out.Header.Set(callerHeader, by.String())
			}
		},
		ModifyResponse: func(res *http.Response) error {
			to.at.answered(addr)
			res.Header.Del(versionHeader) // the server stated ours
			return nil
		},
		Transport:     t,
		FlushInterval: -1, // at once
		BufferPool:    &relayBuffers,
		ErrorLog:      slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			to.at.failed(addr, err)
			if e, ok := errors.AsType[*Error](err); ok {
				err = e
			} else {
				slog.Debug("relay failed", "peer", to.peer.String(), "err", err)
				err = Errorf(http.StatusBadGateway, Unreachable, "the relay cannot reach %s", to.peer)
			}
			writeError(w, r, err)
		},
	}
	p.ServeHTTP(&patientWriter{w, http.NewResponseController(w)}, r)
	return nil
}

// A patientWriter bounds how long each write waits for who reads.
type patientWriter struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (w *patientWriter) Write(b []byte) (n int, err error) {
	err = w.bounded(func() error { n, err = w.ResponseWriter.Write(b); return err })
	return n, err
}

// FlushError is for http.ResponseController.
func (w *patientWriter) FlushError() error { return w.bounded(w.rc.Flush) }

// bounded leaves no deadline behind: what passes may pause.
func (w *patientWriter) bounded(write func() error) error {
	if err := w.rc.SetWriteDeadline(time.Now().Add(relayWriteTime)); err != nil {
		return err
	}
	err := write()
	return errors.Join(err, w.rc.SetWriteDeadline(time.Time{}))
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// relayBuffers are used again: a relay of bulk bytes makes no garbage.
var relayBuffers = buffers{sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}}

type buffers struct{ p sync.Pool }

func (b *buffers) Get() []byte  { return *b.p.Get().(*[]byte) }
func (b *buffers) Put(x []byte) { b.p.Put(&x) }
