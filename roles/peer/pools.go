package peer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sync/errgroup"
)

// The pools of gossip are at the ports that follow the one of a host's Server.
const (
	lanPort = 1
	wanPort = 2
)

// Pools are a host's places in gossip: in its zone's pool and, unless it is a
// node, in the cloud's.
type Pools struct{ all []*Gossip }

// PoolOptions are what Pools work with.
type PoolOptions struct {
	Identity Identity
	Zone     string         // whose pool to be in; "" is none
	Addr     netip.AddrPort // of this host's Server
	Welcome  Welcome
	Seeds    []netip.AddrPort // Servers of some others
	Version  string
}

// OpenPools joins the pools that the options give the keys of. Others are
// looked for in Run.
func OpenPools(o PoolOptions) (*Pools, error) {
	p := &Pools{}
	open := func(id Identity, wan bool, keys [][]byte, port uint16) error {
		at := func(a netip.AddrPort) string { return netip.AddrPortFrom(a.Addr(), a.Port()+port).String() }
		var seeds []string
		for _, s := range o.Seeds {
			seeds = append(seeds, at(s))
		}
		g, err := NewGossip(GossipOptions{Identity: id, WAN: wan, Bind: at(o.Addr), Keys: keys, Join: seeds, Meta: Meta{Addr: o.Addr.String(), Version: o.Version}})
		if err == nil {
			p.all = append(p.all, g)
		}
		return err
	}
	if o.Zone != "" && len(o.Welcome.LAN) > 0 {
		id := o.Identity
		if id.Role == FrontEnd { // which heads this zone itself
			id = Identity{Role: Cluster, Name: id.Name, Zone: o.Zone}
		}
		if err := open(id, false, o.Welcome.LAN, lanPort); err != nil {
			return nil, err
		}
	}
	if len(o.Welcome.WAN) > 0 {
		if err := open(o.Identity, true, o.Welcome.WAN, wanPort); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

// Run gossips until ctx ends.
func (p *Pools) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, pool := range p.all {
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
	for _, pool := range p.all {
		out = append(out, pool.Members()...)
	}
	return out
}

// Close leaves the pools without a word.
func (p *Pools) Close() error {
	var errs []error
	for _, pool := range p.all {
		errs = append(errs, pool.Close())
	}
	return errors.Join(errs...)
}
