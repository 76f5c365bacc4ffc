// Package imds is the instance metadata service: what a guest finds at
// 169.254.169.254, by version 1 and 2 of EC2's protocol.
//
// The caller says who asks (a Lookup by source address, for it opens the socket
// in the guest's VPC) and gets an http.Handler. The tree of entries follows
// EC2's user guide ("Instance metadata categories"); an entry is listed only
// when it answers, for cloud-init reads everything that is listed and gives the
// whole service up when one of them is missing.
package imds

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"eucad/store/cloud"
)

// The headers of version 2 of the protocol.
const (
	tokenHeader = "X-aws-ec2-metadata-token"
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
)

// maxPath bounds the path of a request: the longest entry there is (a tag's) has
// fewer than 300 bytes.
const maxPath = 1024

// A Lookup says which instance has the address, and what it may know. It may be
// called at once from several goroutines and should answer from memory.
type Lookup func(ctx context.Context, remote netip.Addr) (cloud.Metadata, bool)

// Options of a Handler.
type Options struct {
	TokenKey []byte           // signs session tokens, see LoadTokenKey; the same key accepts them after a restart
	Signer   *Signer          // signs identity documents; nil: the signatures are not served
	Now      func() time.Time // nil is the clock at the start, and what has passed since
}

type server struct {
	lookup Lookup
	tokens tokens
	signer *Signer
}

// Handler serves the metadata of the instance that lookup finds for a request's
// source address. It panics when o.TokenKey has fewer than 32 bytes.
func Handler(lookup Lookup, o Options) http.Handler {
	if len(o.TokenKey) < tokenKeySize {
		panic("imds: Options.TokenKey needs at least 32 bytes")
	}
	if o.Now == nil {
		start := time.Now() // what passes is measured: a clock that is set ends no session
		o.Now = func() time.Time { return start.Add(time.Since(start)) }
	}
	return &server{lookup: lookup, tokens: tokens{key: o.TokenKey, now: o.Now}, signer: o.Signer}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "EC2ws")
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		fail(w, http.StatusNotFound)
		return
	}
	m, ok := s.lookup(r.Context(), remote.Addr().Unmap().WithZone(""))
	switch {
	case !ok:
		fail(w, http.StatusNotFound)
	case m.Options.Endpoint == "disabled":
		fail(w, http.StatusForbidden)
	case r.Method == http.MethodPut:
		s.putToken(w, r, m)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		fail(w, http.StatusMethodNotAllowed)
	default:
		setHops(r.Context(), 0)
		s.get(w, r, m)
	}
}

// putToken starts a session. Its answer travels at most as many hops as the
// instance's options allow, so that it dies on its way to a container or a proxy
// (EC2: "HttpPutResponseHopLimit").
func (s *server) putToken(w http.ResponseWriter, r *http.Request, m cloud.Metadata) {
	if r.URL.Path != "/latest/api/token" {
		fail(w, http.StatusNotFound)
		return
	}
	// Whoever forwards for others must not get a token: EC2 refuses, and so
	// closes open proxies and web firewalls.
	if _, ok := r.Header["X-Forwarded-For"]; ok {
		fail(w, http.StatusForbidden)
		return
	}
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > maxTTL {
		fail(w, http.StatusBadRequest)
		return
	}
	setHops(r.Context(), int(m.Options.HopLimit))
	w.Header().Set(ttlHeader, strconv.Itoa(ttl))
	answer(w, "text/plain", []byte(s.tokens.issue(m.InstanceID, ttl)))
}

// get answers an entry or a list of entries.
func (s *server) get(w http.ResponseWriter, r *http.Request, m cloud.Metadata) {
	switch token, given := r.Header[http.CanonicalHeaderKey(tokenHeader)]; {
	case given:
		left, ok := s.tokens.check(token[0], m.InstanceID)
		if !ok {
			fail(w, http.StatusUnauthorized)
			return
		}
		w.Header().Set(ttlHeader, strconv.Itoa(left))
	case m.Options.Tokens == "required":
		fail(w, http.StatusUnauthorized)
		return
	}
	var e entry
	ok := len(r.URL.Path) <= maxPath
	if ok {
		e, ok = find(s.tree(m), r.URL.Path)
	}
	if !ok {
		fail(w, http.StatusNotFound)
		return
	}
	body, err := e.content()
	if err != nil {
		slog.ErrorContext(r.Context(), "metadata entry not made", "instance", m.InstanceID, "entry", e.name, "err", err)
		fail(w, http.StatusInternalServerError)
		return
	}
	if !m.Launched.IsZero() {
		w.Header().Set("Last-Modified", m.Launched.UTC().Format(http.TimeFormat))
	}
	answer(w, e.mime(), body)
}

func answer(w http.ResponseWriter, mime string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mime)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Accept-Ranges", "none")
	w.Write(body)
}

// fail answers as EC2 does: a page that says the status twice.
func fail(w http.ResponseWriter, status int) {
	title := strconv.Itoa(status) + " - " + http.StatusText(status)
	h := w.Header()
	h.Set("Content-Type", "text/html")
	page := strings.ReplaceAll(errorPage, "TITLE", title)
	h.Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	io.WriteString(w, page)
}

const errorPage = `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>TITLE</title>
 </head>
 <body>
  <h1>TITLE</h1>
 </body>
</html>
`
