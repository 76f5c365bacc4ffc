package peer

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"slices"
	"time"
)

const (
	joinPath  = "/join"
	renewPath = "/renew"

	callerHeader = "Eucad-Caller" // whom a head relays for

	maxOpenBody = 16 << 10 // of a stranger's request: keys and names
	maxHeader   = 16 << 10

	headerTime   = 10 * time.Second // for handshake, and for the header of a request
	idleTime     = 2 * time.Minute  // of a connection
	shutdownTime = 5 * time.Second  // for calls to end, once their contexts have
	pingAfter    = 5 * time.Second  // of silence on HTTP/2, one asks whether the other is there
	pingTime     = 5 * time.Second  // and waits so long
)

// ServerOptions are what a Server works with.
type ServerOptions struct {
	Credentials *Credentials
	Version     string // of eucad, as 1.2.3

	// Open answers POST /join and POST /renew, for strangers too: a front
	// end's Authority, or a head's Relay.Open. Nil takes nobody in.
	Open http.Handler

	// Handler answers everything else. It sees only callers of this cloud;
	// see Caller.
	Handler http.Handler
}

// A Server is where a host's peers reach it.
type Server struct {
	opt     ServerOptions
	limit   limiter
	refused refusalLog
}

// NewServer returns a Server that is not yet running.
func NewServer(o ServerOptions) *Server { return &Server{opt: o} }

// Serve answers on l until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	srv := &http.Server{
		Handler:           s,
		TLSConfig:         s.opt.Credentials.serverTLS(),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTime},
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       greet,
		ErrorLog:          log.New(&s.refused, "", 0),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		end() // watches end by it; their other side comes back
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
	})
	err := srv.ServeTLS(door{l}, "", "")
	if stop() { // ctx has not ended
		srv.Close()
		return err
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP lets in who may, and notes who it is.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(versionHeader, s.opt.Version)
	r = r.WithContext(context.WithValue(r.Context(), refusalKey{}, &s.refused))
	if err := s.serve(w, r); err != nil {
		writeError(w, r, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	if err := checkVersion(s.opt.Version, r.Header.Get(versionHeader)); err != nil {
		return err
	}
	open := r.Method == http.MethodPost && (r.URL.Path == joinPath || r.URL.Path == renewPath)
	v := visitorOf(r.Context())
	if v.cert == nil {
		// A stranger holds nothing for long.
		w.Header().Set("Connection", "close")
		rc := http.NewResponseController(w)
		if err := errors.Join(rc.SetReadDeadline(time.Now().Add(headerTime)), rc.SetWriteDeadline(time.Now().Add(callTime))); err != nil {
			return err
		}
		if !open && v.refused != nil {
			return v.refused
		}
		if !open {
			return Errorf(http.StatusUnauthorized, CertificateRequired, "this needs a certificate of the cloud")
		}
		if !s.limit.allow(r.RemoteAddr, time.Now()) {
			return Errorf(http.StatusTooManyRequests, TooManyRequests, "too many requests from one address: try again in a minute")
		}
	} else {
		ctx, done, err := s.caller(w, r, v)
		if err != nil {
			return err
		}
		defer done()
		r = r.WithContext(ctx)
	}
	h := s.opt.Handler
	if open {
		h = s.opt.Open
	}
	if h == nil {
		return errNoPath(r)
	}
	h.ServeHTTP(w, r)
	return nil
}

func errNoPath(r *http.Request) error {
	return Errorf(http.StatusNotFound, NotFound, "there is no %s %s here", r.Method, clip(r.URL.Path))
}

// caller is who is behind a request.
type caller struct {
	id  Identity
	via Identity // the head that relayed it, if any
}

type callerKey struct{}

func callerOf(ctx context.Context) (caller, bool) {
	c, ok := ctx.Value(callerKey{}).(caller)
	return c, ok
}

// Caller returns who made the request: the node, where a head relayed it. It
// is zero for strangers, which only ServerOptions.Open can meet.
func Caller(ctx context.Context) Identity {
	c, _ := callerOf(ctx)
	return c.id
}

// Via returns the head that relayed the request, or the zero Identity.
func Via(ctx context.Context) Identity {
	c, _ := callerOf(ctx)
	return c.via
}

// caller returns a context that knows who calls, and ends with its welcome.
func (s *Server) caller(w http.ResponseWriter, r *http.Request, v *visitor) (_ context.Context, done func(), err error) {
	c, names := caller{id: v.id}, []string{v.id.String(), Serial(v.cert)}
	if by := r.Header.Get(callerHeader); by != "" {
		c.via = v.id
		if c.id, err = ParseIdentity(by); err != nil {
			return nil, nil, Errorf(http.StatusBadRequest, BadRequest, "%s: %s", callerHeader, err)
		}
		if c.via.Role != Cluster {
			return nil, nil, Errorf(http.StatusForbidden, WrongRole, "%s may not speak for others: it is no head of a cluster", c.via)
		}
		if c.id.Role != Node || c.id.Zone != c.via.Zone {
			return nil, nil, Errorf(http.StatusForbidden, WrongZone, "%s may not speak for %s: it is no node of its zone", c.via, c.id)
		}
		names = append([]string{c.id.String()}, names...)
	}
	// A connection outlives the renewal of its certificate. Towards the end
	// of the certificate the connection takes no more requests, so that the
	// next one brings the new certificate; at the end it ends.
	switch left := time.Until(v.cert.NotAfter); {
	case left < -skew:
		w.Header().Set("Connection", "close")
		return nil, nil, Errorf(http.StatusUnauthorized, CertificateExpired, "the certificate of %s has expired", v.id)
	case left < v.cert.NotAfter.Sub(v.cert.NotBefore)/4:
		w.Header().Set("Connection", "close")
	}
	ctx, cancel := context.WithDeadline(context.WithValue(r.Context(), callerKey{}, c), v.cert.NotAfter.Add(skew))
	ctx, unfollow, err := s.opt.Credentials.deny.follow(ctx, names...)
	if err != nil {
		cancel()
		w.Header().Set("Connection", "close")
		return nil, nil, err
	}
	return ctx, func() { unfollow(); cancel() }, nil
}

// Only lets callers with one of the roles through to h. A node that a head
// relays for is a node.
func Only(h http.Handler, roles ...Role) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := Caller(r.Context()); !slices.Contains(roles, id.Role) {
			writeError(w, r, errRole(id, r))
			return
		}
		h.ServeHTTP(w, r)
	})
}

func errRole(id Identity, r *http.Request) error {
	return Errorf(http.StatusForbidden, WrongRole, "a %s may not call %s", id.Role, clip(r.URL.Path))
}
