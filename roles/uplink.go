package roles

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/roles/peer"
	"eucad/roles/plan"
)

// An uplink is how a host of a cloud whose front end is another one belongs to
// it: what it is known by, the way to the front end, and gossip, which finds the
// front end or the head again when that has moved.
type uplink struct {
	creds  *peer.Credentials
	up     *peer.Client // the front end's peer API, by way of the head if that is how we joined
	joined *peer.Client // the host that we joined itself
	pools  *peer.Pools

	opt uplinkOptions
	ups chan string // of a head: where the front end is now

	mu    sync.Mutex
	hosts plan.Hosts // as they were last told
}

type uplinkOptions struct {
	addr  netip.AddrPort            // where other hosts reach this one
	all   bool                      // it listens at all its addresses
	also  string                    // where the host that we joined may be, too, host:port; "" is nowhere
	known plan.Hosts                // from an earlier life of this host
	moved func(addr netip.AddrPort) // is told where the host that we joined is; may be nil
}

// openUplink takes this host's place in gossip; it calls nobody yet.
func openUplink(creds *peer.Credentials, o uplinkOptions) (*uplink, error) {
	u := &uplink{creds: creds, opt: o, ups: make(chan string, 1)}
	id := creds.Identity()
	server, address := creds.Server()
	var err error
	u.pools, err = peer.OpenPools(peer.PoolOptions{Identity: id, Zone: id.Zone, Addr: o.addr, Welcome: creds.Welcome(), Version: Version,
		// The address of a head towards the front end may not be the one that its zone knows.
		Late: o.all && id.Role == peer.Cluster})
	if err != nil {
		return nil, err
	}
	u.joined = u.client(address, server)
	u.up = u.joined
	if server.Role == peer.Cluster {
		u.up = u.joined.Under("/frontend")
	} else if id.Role == peer.Cluster {
		u.pools.SetUp(address)
	}
	u.know(o.known)
	return u, nil
}

// client returns a client of another host, wherever that is now.
func (u *uplink) client(address string, id peer.Identity) *peer.Client {
	return peer.NewClient(peer.ClientOptions{Address: address, Peer: id, Credentials: u.creds, Version: Version, Find: u.find, Moved: u.found})
}

func (u *uplink) find(id peer.Identity) []string {
	all := u.pools.Find(id)
	if server, _ := u.creds.Server(); id == server && u.opt.also != "" {
		all = append(all, u.opt.also)
	}
	return all
}

// found keeps where the host that we joined is, for the next start.
func (u *uplink) found(id peer.Identity, address string) {
	server, was := u.creds.Server()
	if id != server {
		return
	}
	if address != was {
		if err := u.creds.SetAddress(address); err != nil {
			slog.Warn("after a restart this host looks for another one at its old address", "host", id.String(), "err", err)
		}
		if id.Role == peer.FrontEnd && u.creds.Identity().Role == peer.Cluster {
			select {
			case <-u.ups: // an older one
			default:
			}
			select {
			case u.ups <- address:
			default:
			}
		}
	}
	if at, err := netip.ParseAddrPort(address); err == nil && u.opt.moved != nil {
		u.opt.moved(at)
	}
}

// know takes who is in the cloud: gossip asks them for others when it is alone.
func (u *uplink) know(hosts plan.Hosts) {
	u.mu.Lock()
	u.hosts = hosts
	u.mu.Unlock()
	me := u.creds.Identity()
	var lan, wan []netip.AddrPort
	add := func(all *[]netip.AddrPort, addr string) {
		if at, err := netip.ParseAddrPort(addr); err == nil { // a name is looked up by whoever has to
			*all = append(*all, at)
		}
	}
	switch server, address := u.creds.Server(); {
	case server.Role == peer.Cluster:
		add(&lan, address)
	case me.Role == peer.Cluster:
		add(&wan, address)
	}
	for name, h := range hosts.Hosts {
		if name == me.Name {
			continue
		}
		if h.Zone == me.Zone {
			add(&lan, h.Addr)
		}
		if hosts.IsHead(name) {
			add(&wan, h.Addr)
		}
	}
	u.pools.Seeds(lan, wan)
	if me.Role != peer.Cluster {
		return
	}
	for _, a := range lan {
		own, err := peer.AddrToward(a.String())
		if err == nil {
			err = u.pools.OpenZone(own)
		}
		if err == nil {
			return
		}
		slog.Warn("this head is not in its zone's gossip", "toward", a.String(), "err", err)
	}
}

// run keeps what this host is known by, and follows what the front end says of
// the cloud's hosts, until ctx ends.
func (u *uplink) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.pools.Run(ctx) })
	g.Go(func() error { return u.creds.Run(ctx, u.up.Renew) })
	g.Go(func() error { return u.news(ctx) })
	if u.creds.Identity().Role == peer.Cluster {
		g.Go(func() error { return u.tell(ctx) })
	}
	return g.Wait()
}

// tell has a head's zone know where head and front end are, until ctx ends.
func (u *uplink) tell(ctx context.Context) error {
	again := time.NewTicker(retryMax) // the network of the zone may not have been there
	defer again.Stop()
	for {
		select {
		case at := <-u.ups:
			u.pools.SetUp(at) // waits a while
		case <-again.C:
			u.mu.Lock()
			hosts := u.hosts
			u.mu.Unlock()
			u.know(hosts)
		case <-ctx.Done():
			return nil
		}
	}
}

// news takes what the front end would tell this host if it joined now.
func (u *uplink) news(ctx context.Context) error {
	for at, wait := "", retryMin; ; {
		err := u.up.Watch(ctx, plan.WelcomePath, at, func(now string, data json.RawMessage) error {
			var w peer.Welcome
			if err := json.Unmarshal(data, &w); err != nil {
				return err
			}
			if err := errors.Join(u.creds.SetWelcome(w), u.pools.SetKeys(w)); err != nil {
				return err
			}
			at, wait = now, retryMin
			return nil
		})
		if ctx.Err() != nil {
			return nil
		}
		// A front end of an earlier version has no news to tell.
		slog.Debug("news of the cloud's hosts does not come", "err", err)
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait, retryMax)
	}
}

func (u *uplink) close() {
	u.joined.Close()
	if err := u.pools.Close(); err != nil {
		slog.Debug("gossip does not close", "err", err)
	}
}
