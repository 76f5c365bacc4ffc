// Package control moves every thing in the store towards where it should be:
// it tells nodes what changed in their plan, takes their reports, and gives
// up what does not get anywhere in time.
package control

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/roles/loop"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

const (
	routine    = 5 * time.Second // between passes that look for missed deadlines
	changesMax = 4096            // lines of the change feed that one pass reads
	batchMax   = 256             // machines that one transaction reads or writes

	lookLong  = 20 * time.Millisecond // for reading all instances that wait: some 1,000 of them
	lookShare = 10                    // then it takes no more than this part of the time
)

// A Node takes its plan.
type Node interface {
	// Deliver takes what changed in the node's plan and returns at once. After
	// an error (plan.ErrBase) the node is told its whole plan again.
	Deliver(plan.Batch) error
}

// A Control is the front end's hand on its nodes.
type Control struct {
	db     *store.DB
	site   plan.Site
	policy cloud.Policy
	fencer Fencer // nil: none

	mu     sync.Mutex
	nodes  map[string]*node
	sent   map[string]sent // starts whose node was told, and whose history does not yet say so
	leases leases
	waited waited

	listed listed // of the pass alone
	look   look   // of the pass alone, at all that wait

	told  map[string]string // of the rescue alone: what histories say that instances wait for
	heads map[string]error  // and which zones' heads did not answer in this pass

	docs documents // of the pass alone

	pass    *loop.Loop
	rescues *loop.Loop
	rev     uint64 // up to which the change feed was followed
}

// A look is how long the last reading of all instances that wait took.
type look struct {
	at   time.Time
	took time.Duration
}

// A node is one that has joined.
type node struct {
	Node
	net   bool              // has a network
	fresh bool              // has not been told its whole plan
	vpcs  map[string]uint64 // revisions of the documents it has
	hosts uint64            // and of the hosts
}

// Options are what a Control works with.
type Options struct {
	Site   plan.Site
	Policy cloud.Policy // says where instances go whose node is lost; nil for the default one
	Fencer Fencer       // nil: nobody grants leases, and nothing is started elsewhere
}

// New returns a Control that does nothing before Run.
func New(db *store.DB, o Options) *Control {
	if o.Policy == nil {
		o.Policy = cloud.DefaultPolicy
	}
	c := &Control{db: db, site: o.Site, policy: o.Policy, fencer: o.Fencer,
		nodes: map[string]*node{}, sent: map[string]sent{}, docs: newDocuments(o.Site),
		leases: leases{start: time.Now(), heard: map[string]time.Time{}, own: map[string]bool{}},
		listed: listed{start: time.Now(), wall: db.Now(), seen: map[string]time.Time{}},
		rev:    db.Rev()} // whoever joins is told all that is older
	c.pass = loop.New("control", routine, c.once)
	c.rescues = loop.New("rescue", rescueEvery, c.rescue)
	return c
}

// Join adds the node name, which is then told its whole plan. A node without
// a network of its own is not told of VPCs.
func (c *Control) Join(name string, n Node, net bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = &node{Node: n, net: net, fresh: true, vpcs: map[string]uint64{}}
	c.pass.Wake()
}

// Leave forgets the node name, if n is who joined as it last.
func (c *Control) Leave(name string, n Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.nodes[name]; have != nil && have.Node == n {
		delete(c.nodes, name)
	}
}

// Run follows the store until ctx ends.
func (c *Control) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.pass.Run(ctx) })
	g.Go(func() error { return c.rescues.Run(ctx) })
	g.Go(func() error {
		for {
			changed := c.db.Changed()
			c.pass.Wake()
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
		}
	})
	return g.Wait()
}

// once tells nodes what changed and gives up what is late.
func (c *Control) once(ctx context.Context) error {
	return errors.Join(c.follow(ctx), c.deadlines(ctx), c.purge(ctx), c.noteWaiting(ctx))
}

// follow reads the change feed and tells the nodes concerned.
func (c *Control) follow(ctx context.Context) error {
	if err := c.greet(ctx); err != nil {
		return err
	}
	for {
		var d dirty
		err := c.db.Read(ctx, func(rx store.Rx) error {
			changes, err := rx.Changes(ctx, c.rev, changesMax)
			if errors.Is(err, store.ErrTooOld) {
				return err
			}
			if err != nil || len(changes) == 0 {
				return err
			}
			if d, err = sort(ctx, rx, changes); err != nil {
				return err
			}
			d.next, d.more = changes[len(changes)-1].Rev, len(changes) == changesMax
			return nil
		})
		if errors.Is(err, store.ErrTooOld) {
			return c.startOver(ctx)
		}
		if err != nil || d.next == 0 {
			return err
		}
		if err := c.tell(ctx, d, nil); err != nil {
			return err
		}
		if c.rev = d.next; !d.more {
			return nil
		}
	}
}

// startOver has every node told its whole plan, of which nothing is known any more.
func (c *Control) startOver(ctx context.Context) error {
	c.docs = newDocuments(c.site)
	c.mu.Lock()
	for _, n := range c.nodes {
		n.fresh = true
	}
	c.mu.Unlock()
	c.rev, c.docs.begun = c.db.Rev(), false
	return c.greet(ctx)
}

// greet tells each fresh node its whole plan.
func (c *Control) greet(ctx context.Context) error {
	for name, n := range c.joined(nil) {
		c.mu.Lock()
		fresh := n.fresh
		if fresh {
			n.fresh, n.hosts = false, 0
			clear(n.vpcs)
		}
		c.mu.Unlock()
		if !fresh {
			continue
		}
		d := newDirty()
		err := c.db.Read(ctx, func(rx store.Rx) (err error) {
			if d.next, err = rx.Rev(ctx); err != nil {
				return err
			}
			all, err := rx.InstancesOnNode(ctx, name)
			for _, i := range all {
				d.instances[i.ID] = true
			}
			if err != nil {
				return err
			}
			strays, err := rx.StraysOnNode(ctx, name)
			for _, s := range strays {
				d.strays[s.Key()] = true
			}
			return err
		})
		if err == nil {
			err = c.tell(ctx, d, []string{name})
		}
		if err != nil {
			c.again(n)
			return err
		}
	}
	return nil
}

// again has the node told its whole plan.
func (c *Control) again(n *node) {
	c.mu.Lock()
	n.fresh = true
	c.mu.Unlock()
	c.pass.Wake()
}

// deadlines steps every instance that waits without a report. When so many
// wait that to read them takes long, it does so now and then only: a pass
// follows each commit, and must not become slower with each launch.
func (c *Control) deadlines(ctx context.Context) error {
	if c.look.took > lookLong && time.Since(c.look.at) < lookShare*c.look.took {
		return nil
	}
	c.look.at = time.Now()
	defer func() { c.look.took = time.Since(c.look.at) }()
	var late []plan.Status
	err := c.db.Read(ctx, func(rx store.Rx) error {
		moving, err := rx.InstancesMoving(ctx)
		if err != nil {
			return err
		}
		c.waited.keep(moving)
		for _, i := range moving {
			if next := stepInstance(i, nil, c.waited.of(i), rx.Now()); next.State != i.State || next.Cut != i.Cut {
				late = append(late, plan.Status{ID: i.ID})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.settleAll(ctx, late, false)
}

// ReportFrom is Report for what the node name says: of machines that are not
// on it, it may say nothing but that it has removed what was left of them.
func (c *Control) ReportFrom(ctx context.Context, name string, statuses []plan.Status) error {
	var own []plan.Status
	var gone []string // strays
	err := c.db.Read(ctx, func(rx store.Rx) error {
		for _, s := range statuses {
			i, ok, err := rx.FindInstance(ctx, s.ID)
			if err != nil {
				return err
			}
			if ok && i.Node == name && !i.Fencing {
				own = append(own, s)
				continue
			}
			stray, left, err := rx.Stray(ctx, cloud.StrayKey(s.ID, name))
			switch {
			case err != nil:
				return err
			case left && s.Ended:
				gone = append(gone, stray.Key())
			case ok && !left:
				slog.Warn("node reports an instance that is not its own", "node", name, "instance", s.ID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		err := c.db.Write(ctx, func(tx store.Tx) error {
			for _, key := range gone {
				slog.Info("node has removed its copy of an instance that was taken from it", "node", name, "copy", key)
				if err := tx.DeleteStray(ctx, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		c.rescues.Wake()
	}
	return c.Report(ctx, own)
}

// Report takes what nodes say of their machines. It returns once that is durable.
func (c *Control) Report(ctx context.Context, statuses []plan.Status) error {
	return c.settleAll(ctx, statuses, true)
}

// joined returns the nodes names, or all when names is nil.
func (c *Control) joined(names []string) map[string]*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if names == nil {
		return maps.Clone(c.nodes)
	}
	out := map[string]*node{}
	for _, n := range names {
		out[n] = c.nodes[n]
	}
	return out
}
