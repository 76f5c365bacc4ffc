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
	opt    PoolOptions
	wan    *Gossip       // nil: it has none
	opened chan struct{} // closed when there is lan, or will be none

	mu    sync.Mutex
	lan   *Gossip // nil: it has none, or not yet
	up    string
	keys  [][]byte         // of lan
	seeds []netip.AddrPort // of lan
}

// PoolOptions are what Pools work with.
type PoolOptions struct {
	Identity Identity
	Zone     string         // whose pool to be in; "" is none
	Addr     netip.AddrPort // of this host's Server: gossip is there, too
	Listen   netip.Addr     // where it is answered; the zero Addr: at Addr
	Welcome  Welcome
	Version  string

	// Late says that the host has yet to see at which of its addresses its zone
	// reaches it: see OpenZone.
	Late bool
}

// OpenPools joins the pools that the options give the keys of. Others are
// looked for in Run, at the addresses that Seeds says.
func OpenPools(o PoolOptions) (*Pools, error) {
	if !o.Listen.IsValid() {
		o.Listen = o.Addr.Addr()
	}
	p := &Pools{opt: o, keys: o.Welcome.LAN, opened: make(chan struct{})}
	switch {
	case o.Zone == "" || len(p.keys) == 0:
		close(p.opened)
	case !o.Late:
		if err := p.openZone(o.Addr, o.Listen); err != nil {
			return nil, err
		}
	}
	if len(o.Welcome.WAN) > 0 {
		g, err := NewGossip(p.options(o.Identity, o.Addr, o.Listen, wanPort, o.Welcome.WAN))
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.wan = g
	}
	return p, nil
}

// options are those of one pool.
func (p *Pools) options(id Identity, at netip.AddrPort, listen netip.Addr, port uint16, keys [][]byte) GossipOptions {
	return GossipOptions{
		Identity: id, WAN: port == wanPort, Keys: keys, Meta: Meta{Addr: at.String(), Version: p.opt.Version},
		Bind: beside(netip.AddrPortFrom(listen, at.Port()), port), Advertise: beside(at, port),
	}
}

// OpenZone joins the zone's pool, when that was left for later: the zone reaches
// this host at addr.
func (p *Pools) OpenZone(addr netip.Addr) error {
	return p.openZone(netip.AddrPortFrom(addr, p.opt.Addr.Port()), addr)
}

func (p *Pools) openZone(at netip.AddrPort, listen netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.opened:
		return nil
	default:
	}
	id := p.opt.Identity
	if id.Role == FrontEnd { // which heads this zone itself
		id = Identity{Role: Cluster, Name: id.Name, Zone: p.opt.Zone}
	}
	o := p.options(id, at, listen, lanPort, p.keys)
	o.Meta.Up = p.up
	g, err := NewGossip(o)
	if err != nil {
		return err
	}
	p.lan = g
	p.seed(g, lanPort, p.seeds)
	close(p.opened)
	return nil
}

// zone returns the zone's pool, nil when this host is not in it.
func (p *Pools) zone() *Gossip {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lan
}

// beside returns where the gossip of a host is whose Server is at a.
func beside(a netip.AddrPort, port uint16) string {
	return netip.AddrPortFrom(a.Addr(), a.Port()+port).String()
}

func (p *Pools) all() []*Gossip {
	return slices.DeleteFunc([]*Gossip{p.zone(), p.wan}, func(g *Gossip) bool { return g == nil })
}

// Seeds says where the Servers of some others are: of hosts of the zone, and of
// front ends and heads.
func (p *Pools) Seeds(lan, wan []netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seeds = lan
	p.seed(p.lan, lanPort, lan)
	p.seed(p.wan, wanPort, wan)
}

func (p *Pools) seed(g *Gossip, port uint16, all []netip.AddrPort) {
	if g == nil {
		return
	}
	var at []string
	for _, a := range all {
		if s := beside(a, port); s != g.opt.Advertise && !slices.Contains(at, s) {
			at = append(at, s)
		}
	}
	g.SetJoin(at)
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
	g := p.lan
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
	var errs []error
	p.mu.Lock()
	if len(w.LAN) > 0 {
		p.keys = w.LAN
		if p.lan != nil {
			errs = append(errs, p.lan.SetKeys(w.LAN))
		}
	}
	p.mu.Unlock()
	if p.wan != nil && len(w.WAN) > 0 {
		errs = append(errs, p.wan.SetKeys(w.WAN))
	}
	return errors.Join(errs...)
}

// Run gossips until ctx ends.
func (p *Pools) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	run := func(pool *Gossip) error {
		if pool == nil {
			return nil
		}
		if err := pool.Run(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("gossip: %w", err)
		}
		return nil
	}
	g.Go(func() error { return run(p.wan) })
	g.Go(func() error {
		select {
		case <-p.opened:
			return run(p.zone())
		case <-ctx.Done():
			return nil
		}
	})
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
