package frontend

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

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
	at, err := toldAddr(listen, append(wan, lan...))
	if err != nil {
		return fmt.Errorf("--peer-listen %s: %w", p.f.opt.PeerListen, err)
	}
	if at != listen {
		p.told = at.Addr()
	}
	w, err := p.authority.WelcomeOf(ctx, p.creds.Identity())
	if err != nil {
		return err
	}
	p.pools, err = peer.OpenPools(peer.PoolOptions{Identity: p.creds.Identity(), Zone: zone, Addr: at, Listen: listen.Addr(), Welcome: w, Version: p.f.opt.Version})
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

// toldAddr returns where gossip is to say that this host is, which listens for
// others at an address, or at all it has.
func toldAddr(listen netip.AddrPort, known []netip.AddrPort) (netip.AddrPort, error) {
	if !listen.Addr().IsUnspecified() {
		return listen, nil
	}
	own, err := ownAddr(known)
	return netip.AddrPortFrom(own, listen.Port()), err
}

// ownAddr returns at which of its addresses other hosts reach this one: the one
// it has towards those that are known, or else towards the world, or else its
// only one.
func ownAddr(known []netip.AddrPort) (netip.Addr, error) {
	for _, k := range append(known, netip.MustParseAddrPort("192.0.2.1:9")) { // RFC 5737: somewhere
		if a, err := peer.AddrToward(k.String()); err == nil && !(a.IsLoopback() && !k.Addr().IsLoopback()) {
			return a, nil
		}
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	var own []string
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			own = append(own, p.Addr().String())
		}
	}
	switch len(own) {
	case 0:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil // nobody else is there
	case 1:
		return netip.ParseAddr(own[0])
	}
	return netip.Addr{}, fmt.Errorf("this host has no route to others yet and several addresses (%s): name the one that other hosts of the cloud reach", strings.Join(own, ", "))
}

// checkAddr warns when a host reaches this one at another address than gossip
// tells others, which was a guess.
func (p *peers) checkAddr(ctx context.Context) {
	local, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || !p.told.IsValid() {
		return
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil || at.Addr().Unmap() == p.told {
		return
	}
	p.warned.Do(func() {
		slog.Warn("hosts reach this front end at another address than gossip tells them: give that to --peer-listen", "address", at.Addr().Unmap().String(), "gossip", p.told.String())
	})
}
