// Package peertest has networks in memory, with faults, for tests of hosts
// that talk to each other. They work inside a testing/synctest bubble, where
// hours of a thousand hosts pass in seconds.
package peertest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// A Wire is a network for connections between hosts. It can be cut, go dead
// or be slow.
type Wire struct {
	mu        sync.Mutex
	listeners map[string]*listener
	links     map[*link]struct{}
	delay     time.Duration
	dialed    int
}

// NewWire returns a Wire that works.
func NewWire() *Wire {
	return &Wire{listeners: map[string]*listener{}, links: map[*link]struct{}{}}
}

// Listen returns a listener which Dial reaches at the host's name, at any port.
func (w *Wire) Listen(host string) net.Listener {
	l := &listener{wire: w, addr: addr(host), conns: make(chan net.Conn), closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners[host] = l
	return l
}

// Dial connects to a listener.
func (w *Wire) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	l := w.listeners[host]
	w.dialed++
	w.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: connection refused", address)
	}
	near, a := net.Pipe()
	b, far := net.Pipe()
	k := &link{wire: w, a: a, b: b, dead: make(chan struct{})}
	select {
	case l.conns <- far:
	case <-l.closed:
		return nil, fmt.Errorf("dial %s: connection refused", address)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	w.links[k] = struct{}{}
	w.mu.Unlock()
	go k.pump(a, b)
	go k.pump(b, a)
	return near, nil
}

// Dialed returns how many connections were asked for.
func (w *Wire) Dialed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dialed
}

// Cut ends all connections, as a host does that restarts.
func (w *Wire) Cut() {
	for _, k := range w.all() {
		k.a.Close()
		k.b.Close()
	}
}

// Lose makes all connections go dead: nothing arrives any more, and nobody is
// told, as when a cable is pulled. New connections work.
func (w *Wire) Lose() {
	for _, k := range w.all() {
		k.once.Do(func() { close(k.dead) })
	}
}

// SetDelay lets everything arrive so much later from now on.
func (w *Wire) SetDelay(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = d
}

func (w *Wire) all() []*link {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*link
	for k := range w.links {
		out = append(out, k)
	}
	return out
}

// A link is the middle of a connection.
type link struct {
	wire *Wire
	a, b net.Conn
	dead chan struct{}
	once sync.Once
}

// inFlight is how many writes may be on their way. Who writes must not wait for
// who reads before that: it may hold a lock, and a synctest bubble's clock
// stands still while others wait for it.
const inFlight = 256

// pump carries bytes one way until an end closes.
func (k *link) pump(from, to net.Conn) {
	type chunk struct {
		b   []byte
		due time.Time
	}
	chunks := make(chan chunk, inFlight)
	go func() {
		defer close(chunks)
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			k.wire.mu.Lock()
			due := time.Now().Add(k.wire.delay)
			k.wire.mu.Unlock()
			if err != nil {
				return
			}
			chunks <- chunk{bytes.Clone(buf[:n]), due}
		}
	}()
	for c := range chunks {
		time.Sleep(time.Until(c.due))
		if k.lost() {
			continue
		}
		if _, err := to.Write(c.b); err != nil {
			from.Close() // and empty the channel
		}
	}
	from.Close()
	if k.lost() {
		return // the end does not arrive either
	}
	to.Close()
	k.wire.mu.Lock()
	delete(k.wire.links, k)
	k.wire.mu.Unlock()
}

func (k *link) lost() bool {
	select {
	case <-k.dead:
		return true
	default:
		return false
	}
}

type listener struct {
	wire   *Wire
	addr   addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.wire.mu.Lock()
		if l.wire.listeners[string(l.addr)] == l {
			delete(l.wire.listeners, string(l.addr))
		}
		l.wire.mu.Unlock()
		close(l.closed)
	})
	return nil
}

// addr is an address of a network in memory.
type addr string

func (a addr) Network() string { return "mem" }
func (a addr) String() string  { return string(a) }
