package frontend

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"eucad/roles/peer"
	"eucad/store"
)

// openPools takes this host's places in gossip.
func (p *peers) openPools(ctx context.Context) error {
	listen, err := netip.ParseAddrPort(p.listener.Addr().String())
	if err != nil {
		return err
	}
	zone := ""
	if len(p.f.opt.Zones) > 0 { // whose head this host is
		zone = p.f.opt.Zones[0]
	}
	lan, wan, err := p.seeds(ctx, zone)
	if err != nil {
		return err
	}
	at, late := listen, listen.Addr().IsUnspecified()
	if late {
		for _, k := range wan { // by the way to a head that is known
			if own, err := peer.AddrToward(k.String()); err == nil {
				at, late = netip.AddrPortFrom(own, listen.Port()), false
				break
			}
		}
	}
	w, err := p.authority.WelcomeOf(ctx, p.creds.Identity())
	if err != nil {
		return err
	}
	p.pools, err = peer.OpenPools(peer.PoolOptions{Identity: p.creds.Identity(), Zone: zone, Addr: at, Late: late, Welcome: w, Version: p.f.opt.Version})
	if err != nil {
		return err
	}
	p.pools.Seeds(lan, wan)
	return nil
}

// seeds returns where the Servers of the zone's nodes are, and of heads: when
// this host is somewhere else than it was, it has to tell them.
func (p *peers) seeds(ctx context.Context, zone string) (lan, wan []netip.AddrPort, err error) {
	err = p.f.db.Read(ctx, func(rx store.Rx) error {
		nodes, err := rx.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if at, err := netip.ParseAddrPort(n.Net.Addr); err == nil && n.Zone == zone && n.Name != p.f.opt.Name {
				lan = append(lan, at)
			}
		}
		clusters, err := rx.Clusters(ctx)
		for _, c := range clusters {
			if at, err := netip.ParseAddrPort(c.Net.Addr); err == nil && c.Head != p.f.opt.Name {
				wan = append(wan, at)
			}
		}
		return err
	})
	return lan, wan, err
}

// seen takes at which of this host's addresses a head has reached it, if that
// was not known.
func (p *peers) seen(ctx context.Context) {
	local, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return
	}
	at, err := netip.ParseAddrPort(local.String())
	if err == nil {
		err = p.pools.OpenLate(at.Addr().Unmap())
	}
	if err != nil {
		slog.Error("heads do not find this front end by gossip", "at", local.String(), "err", err)
	}
}
