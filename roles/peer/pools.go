package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

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
	lan, wan *Gossip // nil: it has none
	meta     Meta
}

// PoolOptions are what Pools work with.
type PoolOptions struct {
	Identity Identity
	Zone     string         // whose pool to be in; "" is none
	Addr     netip.AddrPort // of this host's Server: gossip is there, too
	Listen   netip.Addr     // where it is answered; the zero Addr: at Addr
	Welcome  Welcome
	Version  string
}

// OpenPools joins the pools that the options give the keys of. Others are
// looked for in Run, at the addresses that Seeds says.
func OpenPools(o PoolOptions) (*Pools, error) {
	p := &Pools{meta: Meta{Addr: o.Addr.String(), Version: o.Version}}
	if !o.Listen.IsValid() {
		o.Listen = o.Addr.Addr()
	}
	open := func(id Identity, wan bool, keys [][]byte, port uint16) (*Gossip, error) {
		return NewGossip(GossipOptions{Identity: id, WAN: wan, Bind: beside(netip.AddrPortFrom(o.Listen, o.Addr.Port()), port),
			Advertise: beside(o.Addr, port), Keys: keys, Meta: p.meta})
	}
	var err error
	if o.Zone != "" && len(o.Welcome.LAN) > 0 {
		id := o.Identity
		if id.Role == FrontEnd { // which heads this zone itself
			id = Identity{Role: Cluster, Name: id.Name, Zone: o.Zone}
		}
		if p.lan, err = open(id, false, o.Welcome.LAN, lanPort); err != nil {
			return nil, err
		}
	}
	if len(o.Welcome.WAN) > 0 {
		if p.wan, err = open(o.Identity, true, o.Welcome.WAN, wanPort); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

// beside returns where the gossip of a host is whose Server is at a.
func beside(a netip.AddrPort, port uint16) string {
	return netip.AddrPortFrom(a.Addr(), a.Port()+port).String()
}

func (p *Pools) all() []*Gossip {
	return slices.DeleteFunc([]*Gossip{p.lan, p.wan}, func(g *Gossip) bool { return g == nil })
}

// Seeds says where the Servers of some others are: of hosts of the zone, and of
// front ends and heads.
func (p *Pools) Seeds(lan, wan []netip.AddrPort) {
	set := func(g *Gossip, port uint16, all []netip.AddrPort) {
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
	set(p.lan, lanPort, lan)
	set(p.wan, wanPort, wan)
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
	if p.lan == nil {
		return
	}
	m := p.meta
	m.Up = addr
	if err := p.lan.SetMeta(m); err != nil {
		slog.Warn("the zone is not told where the front end is", "err", err)
	}
}

// SetKeys takes other keys; see Gossip.SetKeys.
func (p *Pools) SetKeys(w Welcome) error {
	var errs []error
	if p.lan != nil && len(w.LAN) > 0 {
		errs = append(errs, p.lan.SetKeys(w.LAN))
	}
	if p.wan != nil && len(w.WAN) > 0 {
		errs = append(errs, p.wan.SetKeys(w.WAN))
	}
	return errors.Join(errs...)
}

// Run gossips until ctx ends.
func (p *Pools) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, pool := range p.all() {
		g.Go(func() error {
			if err := pool.Run(ctx); err != nil && ctx.Err() == nil {
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
