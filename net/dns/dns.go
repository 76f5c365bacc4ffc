// Package dns is the name server of a VPC: it answers for the VPC's own names
// from memory and passes all other questions on.
package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	maxUDP     = 1232            // bytes of an answer over UDP that no link has to cut (DNS flag day 2020)
	maxTCP     = 64              // connections of guests at once
	maxPassed  = 128             // questions that wait for a resolver at once, in one VPC
	passTime   = 5 * time.Second // for an answer of a resolver
	ownTTL     = 60              // seconds that an answer of ours may be kept
	negative   = 10              // the same, of one that says that there is nothing
	queryTime  = 5 * time.Second // for a question over TCP
	tcpQueries = 128             // on one connection
)

// A Resolver answers what a VPC does not know itself: query and answer are
// whole DNS messages.
type Resolver func(ctx context.Context, query []byte) ([]byte, error)

// A Zone is what a VPC knows.
type Zone struct {
	Domain  string                // its own: a name in it that it doesn't have isn't there
	CIDRs   []netip.Prefix        // its own: the same for their addresses
	Forward map[string]netip.Addr // fully qualified, small letters, no trailing dot
	Reverse map[netip.Addr]string
}

// A Server answers on some sockets.
type Server struct {
	zone     atomic.Pointer[Zone]
	resolver Resolver
	passed   chan struct{} // holds one for each question that waits
	ctx      context.Context
	stop     context.CancelFunc
	servers  []*dns.Server
	done     chan struct{}
}

// Serve begins to answer on the sockets, which it closes in the end.
func Serve(r Resolver, packets []net.PacketConn, listeners []net.Listener) *Server {
	s := &Server{resolver: r, passed: make(chan struct{}, maxPassed), done: make(chan struct{}, len(packets)+len(listeners))}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.zone.Store(&Zone{})
	for _, p := range packets {
		s.servers = append(s.servers, &dns.Server{PacketConn: p, Handler: s, UDPSize: maxUDP})
	}
	for _, l := range listeners {
		s.servers = append(s.servers, &dns.Server{Listener: limit(l), Handler: s, ReadTimeout: queryTime, WriteTimeout: queryTime, MaxTCPQueries: tcpQueries})
	}
	for _, d := range s.servers {
		started := make(chan struct{})
		d.NotifyStartedFunc = func() { close(started) }
		go func() {
			// It ends when Close shuts it down; what it could not read or send, a guest asks again.
			_ = d.ActivateAndServe()
			s.done <- struct{}{}
		}()
		<-started // else Shutdown could come first, and be refused
	}
	return s
}

// Close stops answering.
func (s *Server) Close() error {
	s.stop()
	var errs []error
	for _, d := range s.servers {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if err := d.ShutdownContext(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			errs = append(errs, err)
		}
		cancel()
	}
	for range s.servers {
		<-s.done
	}
	return errors.Join(errs...)
}

// Set replaces what the VPC knows. z must not change any more.
func (s *Server) Set(z *Zone) { s.zone.Store(z) }

// ServeDNS answers one question.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	a := s.answer(q)
	if a == nil {
		a = s.pass(q)
	}
	size := dns.MaxMsgSize
	if udp {
		size = dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = min(max(int(o.UDPSize()), dns.MinMsgSize), maxUDP)
		}
	}
	if q.IsEdns0() != nil && a.IsEdns0() == nil {
		a.SetEdns0(maxUDP, false)
	}
	a.Truncate(size)
	_ = w.WriteMsg(a) // a guest that is gone needs no answer
}

// answer answers what the VPC knows; nil is for a resolver to answer.
func (s *Server) answer(q *dns.Msg) *dns.Msg {
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 {
		return failure(q, dns.RcodeNotImplemented)
	}
	z, ask := s.zone.Load(), q.Question[0]
	if ask.Qclass != dns.ClassINET {
		return failure(q, dns.RcodeRefused)
	}
	if ask.Qtype == dns.TypeAXFR || ask.Qtype == dns.TypeIXFR {
		return failure(q, dns.RcodeRefused)
	}
	name := strings.ToLower(strings.TrimSuffix(ask.Name, "."))
	if addr, ok := reverseAddr(name); ok {
		return z.reverse(q, addr)
	}
	addr, ok := z.Forward[name]
	switch {
	case ok && (ask.Qtype == dns.TypeA || ask.Qtype == dns.TypeANY):
		return found(q, &dns.A{Hdr: header(ask.Name, dns.TypeA), A: addr.AsSlice()})
	case ok:
		return z.nothing(q, dns.RcodeSuccess)
	case z.Domain != "" && name == z.Domain:
		return z.nothing(q, dns.RcodeSuccess)
	case z.Domain != "" && strings.HasSuffix(name, "."+z.Domain):
		return z.nothing(q, dns.RcodeNameError)
	}
	return nil
}

func (z *Zone) reverse(q *dns.Msg, addr netip.Addr) *dns.Msg {
	ask := q.Question[0]
	name, ok := z.Reverse[addr]
	switch {
	case ok && (ask.Qtype == dns.TypePTR || ask.Qtype == dns.TypeANY):
		return found(q, &dns.PTR{Hdr: header(ask.Name, dns.TypePTR), Ptr: dns.Fqdn(name)})
	case ok:
		return z.nothing(q, dns.RcodeSuccess)
	}
	for _, p := range z.CIDRs {
		if p.Contains(addr) {
			return z.nothing(q, dns.RcodeNameError)
		}
	}
	return nil
}

// reverseAddr returns the address of a name below in-addr.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	labels, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return netip.Addr{}, false
	}
	p := strings.Split(labels, ".")
	if len(p) != 4 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(p[3] + "." + p[2] + "." + p[1] + "." + p[0])
	return a, err == nil
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ownTTL}
}

func found(q *dns.Msg, rr dns.RR) *dns.Msg {
	a := failure(q, dns.RcodeSuccess)
	a.Authoritative = true
	a.Answer = []dns.RR{rr}
	return a
}

// nothing says that there is no such record, or no such name, and for how long
// to believe it (RFC 2308).
func (z *Zone) nothing(q *dns.Msg, code int) *dns.Msg {
	a := failure(q, code)
	a.Authoritative = true
	zone := dns.Fqdn(z.Domain)
	a.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: negative},
		Ns:  "ns." + strings.TrimPrefix(zone, "."), Mbox: "hostmaster." + strings.TrimPrefix(zone, "."), Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: negative,
	}}
	return a
}

func failure(q *dns.Msg, code int) *dns.Msg {
	a := new(dns.Msg)
	a.SetRcode(q, code)
	a.RecursionAvailable = true
	return a
}

// pass has the resolver answer.
func (s *Server) pass(q *dns.Msg) *dns.Msg {
	select {
	case s.passed <- struct{}{}:
		defer func() { <-s.passed }()
	default:
		return failure(q, dns.RcodeServerFailure)
	}
	ctx, cancel := context.WithTimeout(s.ctx, passTime)
	defer cancel()
	out := q.Copy()
	out.Id = dns.Id()
	raw, err := out.Pack()
	if err != nil {
		return failure(q, dns.RcodeFormatError)
	}
	answer, err := s.resolver(ctx, raw)
	if err != nil {
		return failure(q, dns.RcodeServerFailure)
	}
	a := new(dns.Msg)
	if err := a.Unpack(answer); err != nil || a.Id != out.Id || !a.Response {
		return failure(q, dns.RcodeServerFailure)
	}
	a.Id = q.Id
	a.Question = q.Question
	return a
}
