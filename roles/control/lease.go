package control

import (
	"context"
	"log/slog"
	"time"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// watchEvery is how often leases are looked at.
const watchEvery = time.Second

// leases tell when nodes were last heard of, by this process's monotonic clock.
type leases struct {
	start time.Time // of the front end
	heard map[string]time.Time
	own   map[string]bool // nodes that this process plays itself: they are there
}

// silence returns for how long nothing was heard of a node. A front end that
// has just started was away itself: it has heard nothing since then, and not
// before.
func silence(start, heard, now time.Time) time.Duration {
	if heard.IsZero() {
		heard = start
	}
	return now.Sub(heard)
}

// Own notes that this process plays these nodes itself.
func (c *Control) Own(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range names {
		c.leases.own[n] = true
	}
}

// Renew notes that the node name is heard of now.
func (c *Control) Renew(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leases.heard[name] = time.Now()
}

// silence returns for how long nothing was heard of the node name.
func (c *Control) silence(name string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leases.own[name] {
		return 0
	}
	return silence(c.leases.start, c.leases.heard[name], time.Now())
}

// known reports whether the node name was heard of since the front end started.
func (c *Control) known(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.leases.heard[name].IsZero()
}

// Watch notes which nodes are heard of and which are not, until ctx ends.
func (c *Control) Watch(ctx context.Context) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		var nodes []cloud.Node
		err := c.db.Read(ctx, func(rx store.Rx) (err error) {
			nodes, err = rx.Nodes(ctx)
			return err
		})
		if err != nil && ctx.Err() == nil {
			slog.Error("cannot look for nodes", "err", err)
		}
		for _, n := range nodes {
			here := c.silence(n.Name) < plan.LeaseTime
			if here == n.Lost || here && c.known(n.Name) && old(n.Seen, c.db.Now()) {
				if err := c.Heard(ctx, n.Name, here); err != nil && ctx.Err() == nil {
					slog.Error("cannot note whether a node is heard of", "node", n.Name, "err", err)
				}
			}
		}
	}
}
