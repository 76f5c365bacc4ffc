package peertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// A Pool is a network for the gossip of any number of hosts.
type Pool struct {
	mu     sync.Mutex
	random *rand.Rand
	loss   float64
	cut    func(a, b int) bool
	hosts  map[string]*host
}

// NewPool returns a Pool in which nothing is lost. The seed decides what will be.
func NewPool(seed uint64) *Pool {
	return &Pool{random: rand.New(rand.NewPCG(seed, 0)), hosts: map[string]*host{}}
}

// SetLoss loses that part of all packets from now on, at random. Streams lose nothing.
func (p *Pool) SetLoss(part float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loss = part
}

// Cut lets nothing pass between hosts for whose numbers cut is true, from now
// on; nil lets all pass.
func (p *Pool) Cut(cut func(a, b int) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
}

const gossipPort = 7946

// Address returns where host number n is: from 1 to 65,000.
func Address(n int) string {
	return fmt.Sprintf("10.0.%d.%d:%d", n>>8, n&255, gossipPort)
}

// Host returns the transport of host number n. When it is shut down, others
// can not tell that from a crash.
func (p *Pool) Host(n int) memberlist.Transport {
	h := &host{
		pool: p, n: n, ip: net.IPv4(10, 0, byte(n>>8), byte(n)), addr: addr(Address(n)),
		packets: make(chan *memberlist.Packet, 1024), // a socket's buffer
		streams: make(chan net.Conn, 64),             // a backlog
		gone:    make(chan struct{}),
	}
	p.mu.Lock()
	p.hosts[string(h.addr)] = h
	p.mu.Unlock()
	return h
}

// reach returns the host at the address; nil when nothing gets there.
func (p *Pool) reach(from int, to string, losable bool) *host {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[to]
	if h == nil || losable && p.loss > 0 && p.random.Float64() < p.loss || p.cut != nil && p.cut(from, h.n) {
		return nil
	}
	return h
}

type host struct {
	pool    *Pool
	n       int
	ip      net.IP
	addr    addr
	packets chan *memberlist.Packet
	streams chan net.Conn
	gone    chan struct{}
	once    sync.Once
}

var _ memberlist.Transport = (*host)(nil)

func (h *host) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return h.ip, gossipPort, nil }
func (h *host) PacketCh() <-chan *memberlist.Packet                 { return h.packets }
func (h *host) StreamCh() <-chan net.Conn                           { return h.streams }

func (h *host) WriteTo(b []byte, to string) (time.Time, error) {
	now := time.Now()
	if d := h.pool.reach(h.n, to, true); d != nil {
		select {
		case d.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: h.addr, Timestamp: now}:
		default: // a full buffer loses it
		}
	}
	return now, nil
}

func (h *host) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	late := time.NewTimer(timeout)
	defer late.Stop()
	d := h.pool.reach(h.n, to, false)
	if d == nil { // as a host that is off: no answer
		select {
		case <-late.C:
		case <-h.gone:
		}
		return nil, fmt.Errorf("dial %s: timeout", to)
	}
	near, far := net.Pipe()
	select {
	case d.streams <- far:
		return near, nil
	case <-d.gone:
	case <-h.gone:
	case <-late.C:
	}
	return nil, fmt.Errorf("dial %s: timeout", to)
}

func (h *host) Shutdown() error {
	h.once.Do(func() {
		h.pool.mu.Lock()
		delete(h.pool.hosts, string(h.addr))
		h.pool.mu.Unlock()
		close(h.gone)
	})
	return nil
}
