package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// The pools of gossip are at the ports that follow the one of a host's Server.
const (
	lanPort = 1
	wanPort = 2
)

// Pools are a host's places in gossip: in its zone's pool and, unless it is a
// node, in the cloud's.
type Pools struct {
	opt PoolOptions

	mu       sync.Mutex
	lan, wan pool
	up       string // that a head tells its zone
}

// A pool is one that a host is in, or will be in, or not.
type pool struct {
	id     Identity
	port   uint16
	keys   [][]byte // none: it is not for this host
	seeds  []netip.AddrPort
	gossip *Gossip       // nil: not yet
	opened chan struct{} // closed when there is gossip
}

// PoolOptions are what Pools work with.
type PoolOptions struct {
	Identity Identity
	Zone     string         // whose pool to be in; "" is none
	Addr     netip.AddrPort // of this host's Server: gossip is there, too
	Welcome  Welcome
	Version  string

	// Late says that this host has yet to see at which of its addresses others
	// reach it: a head those of its zone, a front end the heads. See OpenLate.
	Late bool
}

// OpenPools joins the pools that the options give the keys of. Others are
// looked for in Run, at the addresses that Seeds says.
func OpenPools(o PoolOptions) (*Pools, error) {
	p := &Pools{opt: o,
		lan: pool{id: o.Identity, port: lanPort, keys: o.Welcome.LAN, opened: make(chan struct{})},
		wan: pool{id: o.Identity, port: wanPort, keys: o.Welcome.WAN, opened: make(chan struct{})},
	}
	if o.Zone == "" {
		p.lan.keys = nil
	}
	if o.Identity.Role == FrontEnd { // it may head the zone itself
		p.lan.id = Identity{Role: Cluster, Name: o.Identity.Name, Zone: o.Zone}
	}
	late := map[Role]*pool{Cluster: &p.lan, FrontEnd: &p.wan}[o.Identity.Role]
	for _, l := range []*pool{&p.lan, &p.wan} {
		if o.Late && l == late {
			continue
		}
		if err := p.open(l, o.Addr.Addr()); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

// OpenLate joins the pool that was left for later: its members reach this host
// at addr.
func (p *Pools) OpenLate(addr netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.open(&p.lan, addr), p.open(&p.wan, addr))
}

// open joins a pool, unless it has or is not to.
func (p *Pools) open(l *pool, addr netip.Addr) error {
	if len(l.keys) == 0 || l.gossip != nil {
		return nil
	}
	at := netip.AddrPortFrom(addr, p.opt.Addr.Port())
	o := GossipOptions{Identity: l.id, WAN: l == &p.wan, Bind: beside(at, l.port), Keys: l.keys, Meta: Meta{Addr: at.String(), Version: p.opt.Version}}
	if l == &p.lan {
		o.Meta.Up = p.up
	}
	g, err := NewGossip(o)
	if err != nil {
		return err
	}
	l.gossip = g
	l.seed(l.seeds)
	close(l.opened)
	return nil
}

// beside returns where the gossip of a host is whose Server is at a.
func beside(a netip.AddrPort, port uint16) string {
	return netip.AddrPortFrom(a.Addr(), a.Port()+port).String()
}

// all returns what this host is in.
func (p *Pools) all() []*Gossip {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc([]*Gossip{p.lan.gossip, p.wan.gossip}, func(g *Gossip) bool { return g == nil })
}

// Seeds says where the Servers of some others are: of hosts of the zone, and of
// front ends and heads.
func (p *Pools) Seeds(lan, wan []netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lan.seed(lan)
	p.wan.seed(wan)
}

func (l *pool) seed(all []netip.AddrPort) {
	l.seeds = all
	if l.gossip == nil {
		return
	}
	var at []string
	for _, a := range all {
		if s := beside(a, l.port); s != l.gossip.opt.Bind && !slices.Contains(at, s) {
			at = append(at, s)
		}
	}
	l.gossip.SetJoin(at)
}

// Find returns where the Server of a host may be: gossip is a hint.
func (p *Pools) Find(id Identity) []string {
	var out []string
	for _, m := range p.Members() {
		switch {
		case m.Identity == id, id.Role == FrontEnd && m.Role == Cluster && m.Name == id.Name:
			out = append(out, m.Addr)
		case id.Role == FrontEnd && m.Role == Cluster && m.Up != "":
			out = append(out, m.Up)
		}
	}
	return out
}

// SetUp says where a head reaches its front end, for nodes that look for that.
func (p *Pools) SetUp(addr string) {
	p.mu.Lock()
	g := p.lan.gossip
	p.up = addr
	p.mu.Unlock()
	if g == nil {
		return
	}
	m := g.opt.Meta
	m.Up = addr
	if err := g.SetMeta(m); err != nil {
		slog.Warn("the zone is not told where the front end is", "err", err)
	}
}

// SetKeys takes other keys; see Gossip.SetKeys.
func (p *Pools) SetKeys(w Welcome) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for l, keys := range map[*pool][][]byte{&p.lan: w.LAN, &p.wan: w.WAN} {
		if len(keys) == 0 || len(l.keys) == 0 {
			continue
		}
		l.keys = keys
		if l.gossip != nil {
			errs = append(errs, l.gossip.SetKeys(keys))
		}
	}
	return errors.Join(errs...)
}

// Run gossips until ctx ends.
func (p *Pools) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range []*pool{&p.lan, &p.wan} {
		g.Go(func() error {
			select {
			case <-l.opened:
			case <-ctx.Done():
				return nil
			}
			if err := l.gossip.Run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("gossip: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Members returns who seems to be there in all of the pools.
func (p *Pools) Members() []Member {
	var out []Member
	for _, pool := range p.all() {
		out = append(out, pool.Members()...)
	}
	return out
}

// Close leaves the pools without a word.
func (p *Pools) Close() error {
	var errs []error
	for _, pool := range p.all() {
		errs = append(errs, pool.Close())
	}
	return errors.Join(errs...)
}
