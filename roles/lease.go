package roles

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"eucad/roles/cluster"
	"eucad/roles/node"
	"eucad/roles/peer"
	"eucad/roles/plan"
)

// holdLease keeps the lease of the node a, for which ask asks the head of its
// zone, until ctx ends.
func holdLease(ctx context.Context, name string, a *node.Agent, ask func(context.Context) error) error {
	for said := ""; ; {
		sent := time.Now()
		call, cancel := context.WithTimeout(ctx, plan.LeaseTime) // one that hangs must not cost the lease
		err := ask(call)
		cancel()
		now := ""
		if err == nil {
			a.Renewed(sent)
		} else {
			now = err.Error()
		}
		if now != said && ctx.Err() == nil {
			if now != "" {
				slog.Warn("node gets no lease from its head", "node", name, "err", err)
			} else {
				slog.Info("node has its lease again", "node", name)
			}
			said = now
		}
		if !pause(ctx, leaseEvery) {
			return nil
		}
	}
}

// askHere asks a head that is in this process.
func askHere(l *cluster.Leases, name string) func(context.Context) error {
	return func(context.Context) error { return l.Grant(name) }
}

// askHead asks the head of this host's zone for its lease.
func (r *remote) askHead(ctx context.Context) error {
	id := r.creds.Identity()
	if r.zone != nil {
		return askHere(r.zone.Leases, id.Name)(ctx)
	}
	c, err := r.head()
	if err != nil {
		return err
	}
	return c.Call(ctx, "POST", plan.GrantPath, struct{}{}, nil)
}

// head returns a client of the zone's head: the host that we joined, unless
// that is a front end and the zone has a head of its own.
func (r *remote) head() (*peer.Client, error) {
	if r.joined.Peer().Role == peer.Cluster {
		return r.joined, nil
	}
	zone := r.creds.Identity().Zone
	hosts := r.host.agent.Hosts()
	name := hosts.Zones[zone].Head
	if name == r.joined.Peer().Name {
		return r.joined, nil
	}
	at := hosts.Hosts[name].Addr
	if at == "" {
		return nil, errors.New("where the head of zone " + zone + " is reached is not known yet")
	}
	if r.headAt != at {
		if r.headClient != nil {
			r.headClient.Close()
		}
		r.headAt, r.headClient = at, r.client(at, peer.Identity{Role: peer.Cluster, Name: name, Zone: zone})
	}
	return r.headClient, nil
}
