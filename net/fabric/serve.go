package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"eucad/net/dhcp"
	"eucad/net/dns"
)

// maxMetadata bounds the metadata connections of one guest at once: a guest
// can't keep others from theirs.
const maxMetadata = 64

// servers answer guests inside a router. The zero value serves nothing.
type servers struct {
	dhcp     *dhcp.Server
	dns      *dns.Server
	metadata *http.Server
	ended    chan struct{} // closed when metadata ended
}

// answer starts the router's servers when they don't run, and tells them what
// they should know.
func (r *router) answer(cfg Router) error {
	names := resolvers(cfg)
	if !slices.Equal(names, r.names) { // also the first time
		r.names = nil
		if err := errors.Join(r.serve.close(), r.start(names)); err != nil {
			return fmt.Errorf("servers: %w", errors.Join(err, r.serve.close()))
		}
		r.names = names
		r.zone = nil
	}
	if r.zone == nil || !slices.Equal(r.zoned.Names, cfg.Names) || r.zoned.Domain != cfg.Domain || !slices.Equal(r.zoned.CIDRs, cfg.CIDRs) {
		r.zoned, r.zone = cfg, zone(cfg)
		r.serve.dns.Set(r.zone)
	}
	leases := make(map[uint32]dhcp.Lease, len(r.taps))
	for id, index := range r.taps {
		if l, ok := r.lease(r.ports[id]); ok {
			leases[index] = l
		}
	}
	r.serve.dhcp.Set(leases)
	return nil
}

// start opens sockets in the namespace and serves on them.
func (r *router) start(names []netip.Addr) (err error) {
	if r.serve.dhcp, err = dhcp.Serve(r.ns); err != nil {
		return err
	}
	var packets []net.PacketConn
	var listeners []net.Listener
	var web net.Listener
	err = r.ns.Do(func() error {
		for _, a := range names {
			at := netip.AddrPortFrom(a, 53)
			p, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
			if err != nil {
				return err
			}
			packets = append(packets, p)
			l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
			if err != nil {
				return err
			}
			listeners = append(listeners, l)
		}
		web, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(metadataAddr, 80)))
		return err
	})
	if err != nil {
		for _, p := range packets {
			p.Close()
		}
		for _, l := range listeners {
			l.Close()
		}
		return err
	}
	resolve := dns.Resolver(r.f.opt.Resolver)
	if resolve == nil {
		resolve = r.f.resolve
	}
	r.serve.dns = dns.Serve(resolve, packets, listeners)
	r.serve.metadata, r.serve.ended = r.metadata(), make(chan struct{})
	go func(s servers) {
		defer close(s.ended)
		if err := s.metadata.Serve(web); !errors.Is(err, http.ErrServerClosed) {
			r.f.opt.Log.Error("metadata service ended", "router", r.id, "err", err)
		}
	}(r.serve)
	return nil
}

func (r *router) metadata() *http.Server {
	h := r.f.opt.Metadata
	if h == nil {
		h = http.NotFoundHandler()
	}
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10,
		BaseContext:       func(net.Listener) context.Context { return WithRouterID(context.Background(), r.id) },
		ConnContext:       r.f.opt.ConnContext,
		ConnState:         new(guestConns).state,
		ErrorLog:          slog.NewLogLogger(r.f.opt.Log.Handler(), slog.LevelDebug),
	}
}

// guestConns counts connections by guest. It leaves the connections themselves
// as they are, for handlers that set socket options.
type guestConns struct {
	mu   sync.Mutex
	open map[string]int // by address
}

func (g *guestConns) state(c net.Conn, s http.ConnState) {
	guest, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	g.mu.Lock()
	defer g.mu.Unlock()
	switch s {
	case http.StateNew:
		if g.open == nil {
			g.open = map[string]int{}
		}
		if g.open[guest]++; g.open[guest] > maxMetadata {
			c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		if g.open[guest]--; g.open[guest] == 0 {
			delete(g.open, guest)
		}
	}
}

func (s *servers) close() error {
	var errs []error
	if s.metadata != nil {
		errs = append(errs, s.metadata.Close())
		<-s.ended
	}
	if s.dns != nil {
		errs = append(errs, s.dns.Close())
	}
	if s.dhcp != nil {
		errs = append(errs, s.dhcp.Close())
	}
	*s = servers{}
	return errors.Join(errs...)
}

func zone(cfg Router) *dns.Zone {
	z := &dns.Zone{Domain: strings.ToLower(cfg.Domain), CIDRs: cfg.CIDRs,
		Forward: make(map[string]netip.Addr, len(cfg.Names)), Reverse: make(map[netip.Addr]string, len(cfg.Names))}
	for _, n := range cfg.Names {
		z.Forward[strings.ToLower(n.Name)] = n.Addr
		if _, ok := z.Reverse[n.Addr]; !ok { // the first name of an address is its own
			z.Reverse[n.Addr] = n.Name
		}
	}
	return z
}

// lease is what DHCP tells the port's guest.
func (r *router) lease(p Port) (dhcp.Lease, bool) {
	i := slices.IndexFunc(r.cfg.Subnets, func(s Subnet) bool { return s.ID == p.Subnet })
	if i < 0 {
		return dhcp.Lease{}, false
	}
	subnet := r.cfg.Subnets[i].Prefix
	names := resolvers(r.cfg)
	l := dhcp.Lease{MAC: p.mac(), Addr: netip.PrefixFrom(p.Addr, subnet.Bits()), Router: gateway(subnet), DNS: names[len(names)-1:],
		MTU: p.MTU, Hostname: p.Hostname, Domain: r.cfg.Domain}
	if l.MTU == 0 {
		l.MTU = r.f.opt.MTU
	}
	return l, true
}
