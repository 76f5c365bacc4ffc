package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"eucad/net/fabric"
	"eucad/roles/plan"
)

// A network applies the routers of the plan. Machines wait for the routers
// that they need; everything else is applied soon after it arrives.
type network struct {
	me  string // name of the host
	net fabric.Network
	log *slog.Logger

	mu      sync.Mutex
	hosts   plan.Hosts
	vpcs    map[string]*plan.Vpc
	routers map[string]fabric.Router // made of the above
	closed  map[string]bool          // ports of machines that are gone, though the plan still has them
	want    uint64                   // grows with each change of the above
	held    bool                     // it stays as it is; see hold
	wake    chan struct{}

	applyMu sync.Mutex // one Apply at a time
	have    uint64     // what was last applied without error; under applyMu
}

func (n *network) init(me string, net fabric.Network, log *slog.Logger) {
	n.me, n.net, n.log = me, net, log
	n.vpcs, n.routers, n.closed = map[string]*plan.Vpc{}, map[string]fabric.Router{}, map[string]bool{}
	n.wake = make(chan struct{}, 1)
}

// deliver takes what changed in the documents of VPCs and hosts. It returns
// plan.ErrBase when a change is of another revision than we have.
func (n *network) deliver(b plan.Batch) error {
	if len(b.Vpcs)+len(b.Gone) == 0 && b.Hosts == nil && !b.Full || n.net == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	dirty := map[string]bool{}
	if b.Full { // whole documents follow
		for id := range n.vpcs {
			delete(n.vpcs, id)
			dirty[id] = true
		}
	}
	if b.Hosts != nil {
		if err := n.hosts.Update(*b.Hosts); err != nil {
			return err
		}
		for id := range n.vpcs {
			dirty[id] = true
		}
	}
	for _, u := range b.Vpcs {
		v := n.vpcs[u.ID]
		if v == nil {
			v = &plan.Vpc{}
		}
		if err := v.Update(u); err != nil {
			return err
		}
		n.vpcs[u.ID], dirty[u.ID] = v, true
	}
	for _, id := range b.Gone {
		delete(n.vpcs, id)
		dirty[id] = true
	}
	n.remake(dirty)
	return nil
}

// errHeld is what stands in the way while the network is held.
var errHeld = errors.New("the kept plan is older than what runs here: the network stays as it is until the front end tells a newer plan")

// hold has the network stay as it is, or not. A plan that was kept, and not
// told by a front end since, may lack the ports of guests that run; without
// its port a guest would have no network before it is started again.
func (n *network) hold(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held = on; !on {
		n.rouse()
	}
}

// has reports whether all these ports of a router are planned.
func (n *network) has(router string, ids []string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range ids {
		if !slices.ContainsFunc(n.routers[router].Ports, func(p fabric.Port) bool { return p.ID == id }) {
			return false
		}
	}
	return true
}

// snapshot adds the documents to a whole plan.
func (n *network) snapshot(b *plan.Batch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, v := range n.vpcs {
		b.Vpcs = append(b.Vpcs, plan.VpcUpdate{ID: v.ID, Whole: v.Copy()})
	}
	h := plan.Hosts{}
	h.Update(plan.HostsUpdate{Whole: &n.hosts})
	b.Hosts = &plan.HostsUpdate{Whole: &h}
}

func (n *network) knownHosts() (h plan.Hosts) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h.Update(plan.HostsUpdate{Whole: &n.hosts})
	return h
}

// remake makes routers of the documents ids, and has them applied. n.mu is held.
func (n *network) remake(ids map[string]bool) {
	for id := range ids {
		delete(n.routers, id)
		if v := n.vpcs[id]; v != nil {
			if r, ok := plan.NewRouter(v, &n.hosts, n.me); ok {
				n.routers[id] = r
			}
		}
	}
	n.want++
	n.forgetClosed()
	n.rouse()
}

// rouse has what is wanted applied soon.
func (n *network) rouse() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// forgetClosed drops the ports that the plan no longer has. n.mu is held.
func (n *network) forgetClosed() {
	if len(n.closed) == 0 {
		return
	}
	planned := map[string]bool{}
	for _, r := range n.routers {
		for _, p := range r.Ports {
			planned[p.ID] = true
		}
	}
	for id := range n.closed {
		if !planned[id] {
			delete(n.closed, id)
		}
	}
}

// run applies what arrives until ctx ends, and tries again what failed.
func (n *network) run(ctx context.Context) error {
	if n.net == nil {
		return nil
	}
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
		case <-retry.C:
		}
		if want, held := n.current(); want == 0 || held {
			continue // no plan yet, or an old one: leave the network as it is
		}
		if err := n.apply(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("network is not as planned", "err", err)
			retry.Reset(2 * time.Second)
		}
	}
}

func (n *network) current() (want uint64, held bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.want, n.held
}

// apply makes the network as it is wanted now, unless it is.
func (n *network) apply(ctx context.Context) error {
	want, held := n.current()
	if held {
		return errHeld
	}
	n.applyMu.Lock()
	defer n.applyMu.Unlock()
	if n.have >= want {
		return nil
	}
	c, want := n.config()
	if err := n.net.Apply(ctx, c); err != nil {
		return err
	}
	n.have = want
	return nil
}

// config returns the routers without the ports that are closed.
func (n *network) config() (fabric.Config, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := fabric.Config{Public: n.hosts.Zones[n.hosts.Hosts[n.me].Zone].Public}
	for _, r := range n.routers {
		if len(n.closed) > 0 {
			var open []fabric.Port
			for _, p := range r.Ports {
				if !n.closed[p.ID] {
					open = append(open, p)
				}
			}
			r.Ports = open
		}
		if r.Wanted() {
			c.Routers = append(c.Routers, r)
		}
	}
	return c, n.want
}

// ports returns the ports ids of a router, whose filters are then in place.
func (n *network) ports(ctx context.Context, router string, ids []string) ([]fabric.Port, error) {
	if n.net == nil {
		return nil, nil
	}
	n.mu.Lock()
	var out []fabric.Port
	for _, id := range ids {
		if n.closed[id] {
			delete(n.closed, id)
			n.want++
		}
		for _, p := range n.routers[router].Ports {
			if p.ID == id {
				out = append(out, p)
			}
		}
	}
	n.mu.Unlock()
	if len(out) != len(ids) {
		return nil, fmt.Errorf("router %s has %d of the %d planned ports", router, len(out), len(ids))
	}
	return out, fabric.Concerns(n.apply(ctx), router)
}

// unplug takes the ports of a machine that is gone out of the network.
func (n *network) unplug(ctx context.Context, router string, ids []string) error {
	if n.net == nil || len(ids) == 0 {
		return nil
	}
	n.mu.Lock()
	for _, id := range ids {
		n.closed[id] = true
	}
	n.want++
	n.mu.Unlock()
	if err := fabric.Concerns(n.apply(ctx), router); err != nil {
		return fmt.Errorf("network of ports %v: %w", ids, err)
	}
	return nil
}
