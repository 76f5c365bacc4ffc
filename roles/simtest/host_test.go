package simtest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/hyper"
	"eucad/hyper/sim"
	netsim "eucad/net/sim"
	"eucad/roles/node"
	"eucad/roles/plan"
	"eucad/store/cloud"
)

// A host is one machine of the cloud. It outlives its agent.
type host struct {
	w      *world
	row    cloud.Node
	driver *guard
	net    *netsim.Network
	clock  wallClock
	keep   string // file of the kept plan, in a directory of its own

	head    bool                        // of its zone
	fault   func(op, port string) error // of its network; nil: none
	full    bool                        // it can't keep its plan
	removed bool                        // from the cloud

	agent  *node.Agent // nil: it is down
	booted time.Time   // when it began
	kill   func()

	session *session    // nil: it takes no plan
	left    []*session  // that the front end has not noticed the end of
	taken   uint64      // newest revision that this life of the agent took
	stale   []line      // what older sessions have not delivered
	cut     atomic.Bool // nothing passes between it and the front end
	alone   atomic.Bool // nor between it and its head

	mu    sync.Mutex
	calls []*report // under way to the front end
}

// A line is a message as it is on the wire.
type line struct {
	rev  uint64
	data []byte
}

// A session is a host's stream of its plan; compare roles/frontend.
type session struct {
	mu    sync.Mutex
	queue []line
}

// Deliver queues b; see control.Node. Maps of b are control's: the wire copies.
func (s *session) Deliver(b plan.Batch) error {
	data, err := json.Marshal(plan.Message{Epoch: 1, Batch: b})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, line{b.Rev, data})
	return nil
}

// swap has the two next lines change places.
func (s *session) swap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 1 {
		s.queue[0], s.queue[1] = s.queue[1], s.queue[0]
	}
}

func (s *session) next() (l line, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return l, false
	}
	l, s.queue = s.queue[0], s.queue[1:]
	return l, true
}

// A report is one call of an agent's.
type report struct {
	from *node.Agent
	data []byte
	done chan error
}

// send is what the agent reports by. It waits until the wire has decided.
func (h *host) send(from *node.Agent) func(context.Context, []plan.Status) error {
	return func(ctx context.Context, all []plan.Status) error {
		data, err := json.Marshal(all)
		if err != nil {
			return err
		}
		r := &report{from: from, data: data, done: make(chan error, 1)}
		h.mu.Lock()
		h.calls = append(h.calls, r)
		h.mu.Unlock()
		select {
		case err := <-r.done:
			return err
		case <-ctx.Done():
			return ctx.Err() // the call itself may still arrive
		}
	}
}

func (h *host) nextCall() *report {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.calls) == 0 {
		return nil
	}
	r := h.calls[0]
	h.calls = h.calls[1:]
	return r
}

// boot starts the agent, which begins with the plan it kept.
func (h *host) boot() {
	if h.removed {
		return
	}
	workers := 1 // which one is first would be the scheduler's choice
	if h.w.hasty {
		workers = 4
	}
	var a *node.Agent
	a = node.New(node.Options{
		Name: h.row.Name, Driver: h.driver, Network: h.net, Dir: "/sim", Keep: h.keep, Leased: true, Workers: workers,
		Image:  func(_ context.Context, hash string) (string, error) { return "/sim/" + hash, nil },
		Report: func(ctx context.Context, s []plan.Status) error { return h.send(a)(ctx, s) },
	})
	if h.full { // what is kept can be read all the same
		h.w.diskFails(h)
		defer func() {
			synctest.Wait()
			h.w.diskFails(h)
		}()
	}
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error { return h.renew(ctx, a) })
	h.agent, h.booted, h.taken = a, time.Now(), 0
	h.kill = func() {
		cancel()
		if err := g.Wait(); err != nil {
			h.w.t.Errorf("agent of %s: %v", h.row.Name, err)
		}
		h.agent = nil
	}
}

// renew tells the front end and the head that the host is there, as roles does.
func (h *host) renew(ctx context.Context, a *node.Agent) error {
	t := time.NewTicker(leaseEvery)
	defer t.Stop()
	for {
		if !h.cut.Load() {
			h.w.control().Renew(h.row.Name)
		}
		if l := h.w.heads.of(h.row.Zone); l != nil && !h.alone.Load() {
			sent := time.Now()
			if err := l.Grant(h.row.Name); err == nil {
				a.Renewed(sent)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// hangUp ends the session, if there is one. What it still held may turn up later.
func (h *host) hangUp() {
	if h.session == nil {
		return
	}
	h.w.front.control.Leave(h.row.Name, h.session)
	h.leave()
}

// leave takes what is left of the session.
func (h *host) leave() {
	for l, ok := h.session.next(); ok; l, ok = h.session.next() {
		h.stale = append(h.stale, l)
	}
	h.session = nil
}

// dial opens a session, if the host is up and not cut off.
func (h *host) dial() {
	if h.session != nil || h.agent == nil || h.cut.Load() {
		return
	}
	h.session = &session{}
	h.w.front.control.Join(h.row.Name, h.session, true)
}

// dialAgain opens another session while the front end still has one, and takes
// that for alive.
func (h *host) dialAgain() {
	if h.session == nil {
		return
	}
	h.w.logf("%s has a second session", h.row.Name)
	h.left = append(h.left, h.session)
	h.leave()
	h.dial()
}

// notice has the front end see the end of sessions that were left long ago.
func (h *host) notice() {
	for _, s := range h.left {
		h.w.front.control.Leave(h.row.Name, s)
	}
	h.left = nil
}

// take hands a line to the agent, as roles.remote does: what it refuses ends
// the session.
func (h *host) take(l line) {
	var m plan.Message
	if err := json.Unmarshal(l.data, &m); err != nil {
		h.w.t.Fatal(err)
	}
	if err := h.agent.Take(m); err != nil {
		h.w.logf("%s refuses %d: %v", h.row.Name, l.rev, err)
		h.hangUp()
		return
	}
	h.taken = max(h.taken, l.rev)
}

// late hands the agent what an older session held. It must refuse what is
// older than what it has; the rest does no harm.
func (h *host) late(l line) {
	var m plan.Message
	if err := json.Unmarshal(l.data, &m); err != nil {
		h.w.t.Fatal(err)
	}
	if l.rev < h.taken {
		if err := h.agent.Take(m); !errors.Is(err, node.ErrOlder) {
			h.w.failf("%s has revision %d and took %d of an older session: %v", h.row.Name, h.taken, l.rev, err)
		}
	}
}

// A guard is a host's hypervisor. It sees what must never be done.
type guard struct {
	*sim.Driver
	h       *host
	mu      sync.Mutex
	removed map[string]uint64 // the boot that each machine was removed with
	wrong   []string
}

// Apply is that of the driver; see hyper.Driver.
func (g *guard) Apply(ctx context.Context, m hyper.Machine) error {
	g.mu.Lock()
	boot, removed := g.removed[m.ID]
	if removed && m.Power == hyper.On && (m.Boot <= boot || !g.h.w.network) {
		g.wrong = append(g.wrong, m.ID+" is started again after its end")
	}
	g.mu.Unlock()
	err := g.Driver.Apply(ctx, m)
	if err == nil && m.Power == hyper.On {
		g.alone(ctx, m.ID)
	}
	return err
}

// alone looks, whenever a guest has been started, whether it runs elsewhere.
func (g *guard) alone(ctx context.Context, id string) {
	runs := func(d *sim.Driver) bool {
		all, err := d.List(ctx)
		return err == nil && slices.ContainsFunc(all, func(s hyper.Status) bool { return s.ID == id && s.State == hyper.Running })
	}
	for _, o := range g.h.w.hosts {
		if o != g.h && runs(o.driver.Driver) && runs(g.Driver) {
			g.mu.Lock()
			g.wrong = append(g.wrong, id+" was started, and runs on "+o.row.Name+" too")
			g.mu.Unlock()
		}
	}
}

// Remove is that of the driver; see hyper.Driver.
func (g *guard) Remove(ctx context.Context, id string) error {
	all, err := g.Driver.List(ctx)
	if err != nil {
		return err
	}
	g.mu.Lock()
	was := g.removed[id]
	for _, s := range all {
		if s.ID == id {
			was = max(was, s.Boot)
		}
	}
	g.removed[id] = was
	g.mu.Unlock()
	return g.Driver.Remove(ctx, id)
}

func newHost(w *world, row cloud.Node, dir string) *host {
	h := &host{w: w, row: row, net: netsim.New(), keep: filepath.Join(dir, row.Name, "plan.json")}
	if err := os.Mkdir(filepath.Dir(h.keep), 0o755); err != nil {
		w.t.Fatal(err)
	}
	d, err := sim.New(sim.Options{Name: row.Name, Volumes: w.heads.volumes, Clock: h.clock.now, Host: hyper.Host{CPUs: row.CPUs, MemoryMiB: row.MemoryMiB, DiskBytes: row.DiskGiB << 30}})
	if err != nil {
		w.t.Fatal(err)
	}
	h.driver = &guard{Driver: d, h: h, removed: map[string]uint64{}}
	return h
}
