// Package query serves AWS's Query APIs: form parameters in, XML out. It knows
// the protocol and everything that is the same for all actions (signatures,
// errors, dry run, filters, paging); what an action does is up to the server
// whose methods its table names.
package query

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"eucad/api/sigv4"
	"eucad/store/cloud"
)

// A Handler is the HTTP endpoint of one or more services. The version that a
// request names tells which one it is for, then the action; the first service
// takes the rest.
type Handler struct {
	Services []*Service

	// Verify checks the signature of a request whose body has been read.
	Verify func(r *http.Request, body []byte) (sigv4.Identity, error)

	// PageKey authenticates the tokens of Page. All front ends of a cloud must
	// have the same, or a client that changes front ends starts over.
	PageKey []byte

	// Log takes what callers must not see; slog's default when nil.
	Log *slog.Logger
}

// ServeHTTP answers one call.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := &Request{ID: newRequestID(), Host: r.Host, RemoteAddr: r.RemoteAddr, pageKey: h.PageKey}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		req.RemoteAddr = host
	}
	start := time.Now()
	svc := h.Services[0]
	out, err := h.serve(w, r, req, &svc)
	if err == nil {
		writeAnswer(w, svc, req, out)
	} else {
		h.writeError(w, r, svc, req, err)
	}
	h.log().Debug("call", "req", req.ID, "account", req.Account, "action", req.Action, "took", time.Since(start), "err", err)
}

// serve does a call up to its answer; it sets req and svc as it learns them.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, req *Request, svc **Service) (Output, error) {
	body, ps, err := readParams(w, r)
	if err != nil {
		return nil, err
	}
	req.Action, req.Version = take(ps, "Action"), take(ps, "Version")
	s := h.service(req)
	*svc, req.Service = s, s.Name
	if err := checkVersion(req, s); err != nil {
		return nil, err
	}
	who, err := h.Verify(r, body)
	if err != nil {
		return nil, authFault(s.Dialect, err)
	}
	req.Account, req.AccessKeyID = who.AccountID, who.AccessKeyID
	do, err := s.action(req.Action)
	if err != nil {
		return nil, err
	}
	ps = slices.DeleteFunc(ps, func(p param) bool { return isProtocolParam(p.name) })
	params, sorted, err := newTree(ps)
	if err != nil {
		return nil, err
	}
	req.params = sorted
	dry, err := dryRun(sorted)
	if err != nil {
		return nil, err
	}
	if token := take(sorted, "ClientToken"); len(token) > maxClientToken {
		return nil, cloud.Faultf("InvalidParameterValue", "The client token '%s' is longer than %d characters", clip(token), maxClientToken)
	}
	out, err := h.call(withRequest(r.Context(), req, dry), do, params)
	if dry && (err == nil || errors.Is(err, cloud.ErrDryRun)) {
		return nil, cloud.Faultf("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	}
	return out, err
}

// readParams reads the parameters of a GET or a POST, or of both together.
func readParams(w http.ResponseWriter, r *http.Request) (body []byte, ps []param, err error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return nil, nil, cloud.Faultf("MethodNotAllowed", "The API takes GET and POST, not %s.", clip(r.Method))
	}
	if ps, err = parseForm(nil, r.URL.RawQuery); err != nil {
		return nil, nil, err
	}
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
			return nil, nil, cloud.Faultf("RequestEntityTooLarge", "The request is larger than %d bytes.", maxBody)
		}
		return nil, nil, cloud.Faultf("IncompleteBody", "The request ended before its body was complete.")
	}
	if len(body) == 0 {
		return body, ps, nil
	}
	if ct := r.Header.Get("Content-Type"); ct != "" {
		if t, _, _ := mime.ParseMediaType(ct); t != "application/x-www-form-urlencoded" {
			return nil, nil, cloud.Faultf("MalformedQueryString", "The body is %s; the API takes application/x-www-form-urlencoded.", clip(ct))
		}
	}
	ps, err = parseForm(ps, string(body))
	return body, ps, err
}

// service tells which API a request is for.
func (h *Handler) service(req *Request) *Service {
	for _, s := range h.Services {
		if req.Version == s.Version {
			return s
		}
	}
	for _, s := range h.Services {
		if s.Known[req.Action] {
			return s
		}
	}
	return h.Services[0]
}

// checkVersion accepts any date, for clients pin the version they were written
// against: boto 2 says 2014-10-01, euca2ools 2015-10-01.
func checkVersion(req *Request, s *Service) error {
	if req.Version == "" {
		req.Version = s.Version
	}
	if _, err := time.Parse(time.DateOnly, req.Version); err != nil {
		v := req.Version
		req.Version = s.Version
		return cloud.Faultf("NoSuchVersion", "The requested version (%s) of the service does not exist; the current one is %s.", clip(v), s.Version)
	}
	return nil
}

// action finds an action, or says why there is none.
func (s *Service) action(name string) (func(context.Context, *Node) (Output, error), error) {
	switch do := s.actions[name]; {
	case do != nil:
		return do, nil
	case name == "":
		return nil, cloud.Faultf("MissingAction", "The request must contain the parameter Action")
	case s.Known[name]:
		return nil, cloud.Faultf("UnsupportedOperation", "The action %s is not supported by this cloud.", name)
	}
	return nil, cloud.Faultf("InvalidAction", "The action %s is not valid for this web service.", clip(name))
}

func dryRun(ps []param) (bool, error) {
	var d Decoder
	v := take(ps, "DryRun")
	b := d.Bool(&Node{Path: "DryRun", Value: v, has: v != ""})
	return b != nil && *b, d.Err()
}

// call runs an action; a panic in it costs this call only.
func (h *Handler) call(ctx context.Context, do func(context.Context, *Node) (Output, error), params *Node) (out Output, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p, debug.Stack()}
		}
	}()
	return do(ctx, params)
}

func (h *Handler) log() *slog.Logger {
	if h.Log != nil {
		return h.Log
	}
	return slog.Default()
}

// newRequestID returns a random UUID, version 4.
func newRequestID() string {
	var u [16]byte
	rand.Read(u[:])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	var b [36]byte
	hex.Encode(b[:8], u[:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:], u[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}
