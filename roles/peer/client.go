package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// callTime bounds a call whose context has no deadline.
	callTime = 30 * time.Second

	dialTime  = 5 * time.Second  // on a network of the site's own
	shakeTime = 10 * time.Second // TLS, with a host that is busy

	bulkBuffer = 128 << 10 // what a read or write of bulk bytes takes at once

	maxRefusal = 64 << 10 // of a refusal's body
)

// ClientOptions are what a Client works with.
type ClientOptions struct {
	Address     string   // host:port
	Peer        Identity // who must answer there
	Credentials *Credentials
	Version     string // of eucad

	// Find returns more addresses where a peer may be, such as gossip knows, for
	// when it is not at Address; nil knows none.
	Find func(Identity) []string

	// Moved is told where the peer is when it first answers there.
	Moved func(id Identity, address string)

	// Dial makes connections; nil is the network's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Client calls one host. It keeps connections, so it should be kept too. All
// methods may run at once.
type Client struct {
	peer   Identity
	at     *whereabouts
	prefix string // of paths: where a relay passes them on
	calls  *transport
	bulk   *transport
}

// NewClient returns a Client. It connects when it is used.
func NewClient(o ClientOptions) *Client {
	return newClient(o, o.Credentials.clientTLS(o.Peer))
}

func newClient(o ClientOptions, config *tls.Config) *Client {
	dial := o.Dial
	if dial == nil {
		// Keep-alives, so that bulk bytes from a host that vanished end.
		d := &net.Dialer{Timeout: dialTime, KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: pingAfter, Interval: pingAfter, Count: 3,
		}}
		dial = d.DialContext
	}
	// Two transports: HTTP/2 carries any number of calls and watches on one
	// connection; a stream of bytes is almost twice as fast on HTTP/1.1.
	over := func(two bool) *transport {
		p := new(http.Protocols)
		p.SetHTTP1(!two)
		p.SetHTTP2(two)
		return &transport{version: o.Version, next: &http.Transport{
			DialContext:         dial,
			TLSClientConfig:     config.Clone(),
			TLSHandshakeTimeout: shakeTime,
			Protocols:           p,
			HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTime},
			IdleConnTimeout:     idleTime,
			DisableCompression:  true, // the network is faster than gzip
			ReadBufferSize:      bulkBuffer,
			WriteBufferSize:     bulkBuffer,
		}}
	}
	at := &whereabouts{peer: o.Peer, told: o.Address, addr: o.Address, find: o.Find, moved: o.Moved}
	return &Client{peer: o.Peer, at: at, calls: over(true), bulk: over(false)}
}

// Under returns a Client for the paths below prefix, with the same
// connections: "/node/n1" of a head is node n1.
func (c *Client) Under(prefix string) *Client {
	u := *c
	u.prefix += prefix
	return &u
}

// Address returns where the peer is called now.
func (c *Client) Address() string { return c.at.now() }

// Peer returns who is called.
func (c *Client) Peer() Identity { return c.peer }

// Close closes connections that nobody uses.
func (c *Client) Close() {
	c.calls.next.CloseIdleConnections()
	c.bulk.next.CloseIdleConnections()
}

// Call sends in as JSON and reads the answer into out; nil is nothing. A
// refusal by the peer is an *Error. It takes at most 30 s, or what ctx says.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	if _, has := ctx.Deadline(); !has {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, callTime)
		defer cancel()
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return c.explain(method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, path, body)
	if err != nil {
		return c.explain(method, path, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.do(c.calls, req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := readAll(res, maxBody)
	if err == nil && out != nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		return c.explain(method, path, err)
	}
	return nil
}

// Do sends req, whose URL is a path, over HTTP/1.1: for bytes that are not
// JSON, in either direction. The caller closes the answer's body; ctx of req
// bounds all of it. A refusal by the peer is an *Error.
func (c *Client) Do(req *http.Request) (*http.Response, error) { return c.do(c.bulk, req) }

// Renew asks the peer, a front end or a head, for a new certificate.
func (c *Client) Renew(ctx context.Context, in RenewRequest) (out Issued, err error) {
	return out, c.Call(ctx, http.MethodPost, renewPath, in, &out)
}

func (c *Client) do(t *transport, req *http.Request) (*http.Response, error) {
	method, path := req.Method, req.URL.Path
	addr := c.at.now()
	req.URL.Scheme, req.URL.Host = "https", addr
	req.URL.Path = c.prefix + path
	if req.URL.RawPath != "" {
		req.URL.RawPath = c.prefix + req.URL.RawPath
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		c.at.failed(addr, err)
		return nil, fmt.Errorf("%s %s%s at %s: %w", method, c.prefix, path, addr, err)
	}
	c.at.answered(addr)
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	b, err := readAll(res, maxRefusal)
	if err != nil {
		return nil, c.explain(method, path, err)
	}
	return nil, readError(res.StatusCode, b)
}

func (c *Client) explain(method, path string, err error) error {
	return fmt.Errorf("%s %s%s at %s: %w", method, c.prefix, path, c.at.now(), err)
}

func readAll(res *http.Response, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("the answer has more than %d bytes", most)
	}
	return b, err
}

// A transport states our version and looks at the peer's.
type transport struct {
	version string
	next    *http.Transport
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Header.Set(versionHeader, t.version)
	res, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(t.version, res.Header.Get(versionHeader)); err != nil {
		res.Body.Close()
		return nil, err
	}
	return res, nil
}
