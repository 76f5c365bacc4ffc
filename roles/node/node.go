// Package node makes one host match its plan: guests through a hyper.Driver,
// network through a fabric.Network, disks from the image cache. It reports
// what became of each machine.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/hyper"
	"eucad/net/fabric"
	"eucad/roles/plan"
	"eucad/store/cloud"
)

// Options are what an Agent works with.
type Options struct {
	Name    string
	Driver  hyper.Driver   // nil: no machines, as on a head that is no node
	Network fabric.Network // nil: machines have no network

	// Dir holds the disks of machines in machines/<id>/, as the driver keeps
	// them, and in volumes/ those that outlived their machine.
	Dir string

	// Image returns the path of the image with this content hash on this
	// host, fetching it first when it must.
	Image func(ctx context.Context, hash string) (path string, err error)

	// Report takes what became of machines. It is called from one goroutine,
	// and again with the same statuses when it fails.
	Report func(ctx context.Context, s []plan.Status) error

	// Hosts, when not nil, is told who is in the cloud whenever that changes.
	Hosts func(plan.Hosts)

	Workers int    // machines that are worked on at once; default 4
	Keep    string // file to keep the plan in; "" keeps none

	// Leased says that guests which may be started elsewhere (plan.Machine's
	// Movable) run only while Renewed is called, which tells that the zone's
	// head has granted a lease; see plan.StopAfter.
	Leased bool
}

// routine is how often all machines are looked at and reported though nothing
// seems to have changed: an event or a report that was lost costs no more.
const routine = 5 * time.Minute

// An Agent applies the plan of one node.
type Agent struct {
	opt Options
	log *slog.Logger

	changed chan struct{} // the plan is not as it was kept

	keepMu sync.Mutex // one writer of Options.Keep at a time
	kept   uint64     // what of told is in it; under keepMu

	takeMu  sync.Mutex // one Take at a time
	learnMu sync.Mutex // one learn at a time

	mu       sync.Mutex
	told     uint64 // grows with each change of the plan
	epoch    uint64 // of the plan
	rev      uint64
	machines map[string]*machine
	others   map[string]hyper.Status // what the driver last said of machines that the plan does not name
	heard    map[string]bool         // machines of which there is news since learn asked; nil when it doesn't ask
	byAddr   map[addrKey]string      // instance by router and address, for its metadata
	queue    []string                // machines to work on
	some     *sync.Cond              // queue is not empty, or stopped
	stopped  bool
	lease    lease

	net     network
	reports reports
}

type addrKey struct {
	router string
	addr   netip.Addr
}

// A machine is one guest in the plan, and what is known of it.
type machine struct {
	want    plan.Machine
	known   hyper.Status // as the driver last said
	dead    uint64       // the Boot which ended by itself
	ended   bool         // the plan's end was carried out
	since   time.Time    // when it was queued
	queued  bool
	busy    bool // a worker has it
	again   bool // queue it again when the worker is done
	retries int
}

// New returns an Agent that does nothing before Run.
func New(opt Options) *Agent {
	if opt.Workers == 0 {
		opt.Workers = 4
	}
	a := &Agent{
		opt: opt, log: slog.With("node", opt.Name), changed: make(chan struct{}, 1), lease: lease{start: time.Now()},
		machines: map[string]*machine{}, others: map[string]hyper.Status{}, byAddr: map[addrKey]string{},
	}
	a.some = sync.NewCond(&a.mu)
	a.net.init(opt.Name, opt.Network, a.log)
	a.reports.init()
	return a
}

// Run works until ctx ends. It first learns what the host has, and waits for
// the hypervisor as long as it takes.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if a.opt.Keep != "" {
		if err := a.restore(a.opt.Keep); err != nil {
			return err
		}
		g.Go(func() error { return a.keepPlan(ctx) })
	}
	if a.opt.Driver == nil {
		g.Go(func() error { return a.net.run(ctx) })
		return g.Wait()
	}
	g.Go(func() error { return a.watch(ctx) })
	g.Go(func() error { return a.reports.run(ctx, a.opt.Report, a.log) })
	g.Go(func() error { return a.net.run(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		a.mu.Lock()
		a.stopped = true
		a.mu.Unlock()
		a.some.Broadcast()
		return nil
	})
	if err := a.learn(ctx); err != nil {
		return g.Wait() // ctx ended
	}
	a.release()
	if a.opt.Leased {
		g.Go(func() error { return a.keepLease(ctx) })
	}
	for range a.opt.Workers {
		g.Go(func() error { a.work(ctx); return nil })
	}
	g.Go(func() error {
		for sleep(ctx, routine) {
			a.learn(ctx)
		}
		return nil
	})
	return g.Wait()
}

// ErrOlder says that a plan is older than the one this host has.
var ErrOlder = errors.New("refused a plan that is older than the one this host has")

// Take is Deliver for what comes over the wire: a plan that is older than what
// this host has is refused.
func (a *Agent) Take(m plan.Message) error {
	a.takeMu.Lock()
	defer a.takeMu.Unlock()
	a.mu.Lock()
	if m.Epoch < a.epoch || m.Epoch == a.epoch && m.Rev < a.rev {
		defer a.mu.Unlock()
		return fmt.Errorf("%w: it has epoch %d revision %d, and %d.%d was sent; the front end's store is an old copy: give it back the newer one", ErrOlder, a.epoch, a.rev, m.Epoch, m.Rev)
	}
	if m.Epoch > a.epoch && !m.Full {
		defer a.mu.Unlock()
		return fmt.Errorf("%w: epoch %d begins with the whole plan", plan.ErrBase, m.Epoch)
	}
	a.epoch, a.rev = m.Epoch, m.Rev
	a.mu.Unlock()
	return a.Deliver(m.Batch)
}

// Deliver merges b into the plan and returns at once. It returns plan.ErrBase
// when b does not follow on what was delivered before: the whole plan is needed.
func (a *Agent) Deliver(b plan.Batch) error {
	err := a.deliver(b)
	if err == nil && b.Full {
		a.net.hold(false)
	}
	return err
}

func (a *Agent) deliver(b plan.Batch) error {
	if err := a.net.deliver(b); err != nil {
		return err
	}
	if b.Hosts != nil && a.opt.Hosts != nil {
		a.opt.Hosts(a.Hosts())
	}
	a.drop(b.Drop)
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.Full {
		a.letGo(b.Machines)
	}
	a.told++
	a.keepLater()
	for _, w := range b.Machines {
		m := a.machines[w.ID]
		if m == nil {
			m = a.meet(w.ID)
		}
		a.setAddresses(m, w)
		m.want, m.retries, m.ended = w, 0, m.ended && w.Ended
		a.enqueue(w.ID, m)
	}
	for _, id := range b.Forget {
		if m := a.machines[id]; m != nil {
			a.part(id, m)
		}
	}
	return nil
}

// meet takes a machine into the plan, as it is: its guest may run already, or
// be over, when the plan comes after a first look at the host. a.mu is held.
func (a *Agent) meet(id string) *machine {
	m := &machine{known: hyper.Status{ID: id, State: hyper.Absent}}
	if s, ok := a.others[id]; ok {
		m.see(s)
		delete(a.others, id)
	}
	a.machines[id] = m
	return m
}

// part takes a machine out of the plan. a.mu is held.
func (a *Agent) part(id string, m *machine) {
	a.setAddresses(m, plan.Machine{})
	delete(a.machines, id)
	if m.known.State != hyper.Absent {
		a.others[id] = m.known
	}
}

// letGo forgets machines that a whole plan does not have. Those that are on
// the host are orphans then: they are left alone, for only a plan that names a
// guest as ended may end it. a.mu is held.
func (a *Agent) letGo(named []plan.Machine) {
	have := make(map[string]bool, len(named))
	for _, m := range named {
		have[m.ID] = true
	}
	for id, m := range a.machines {
		if have[id] {
			continue
		}
		if m.known.State != hyper.Absent {
			a.log.Warn("the plan does not know a guest any more; it is left alone (eucad doctor lists such)", "instance", id)
		}
		a.part(id, m)
	}
}

// setAddresses notes at which addresses the machine asks for its metadata.
func (a *Agent) setAddresses(m *machine, next plan.Machine) {
	each := func(w plan.Machine, f func(addrKey)) {
		if w.Metadata == nil {
			return
		}
		for _, n := range w.Metadata.Interfaces {
			for _, ip := range n.PrivateIPs {
				f(addrKey{n.VpcID, ip})
			}
		}
	}
	each(m.want, func(k addrKey) { delete(a.byAddr, k) })
	each(next, func(k addrKey) { a.byAddr[k] = next.ID })
}

// Metadata returns what the instance behind addr in router may learn of itself.
func (a *Agent) Metadata(router string, addr netip.Addr) (cloud.Metadata, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.machines[a.byAddr[addrKey{router, addr}]]
	if m == nil || m.want.Metadata == nil {
		return cloud.Metadata{}, false
	}
	return *m.want.Metadata, true
}

// Hosts returns who is in the cloud, as last told.
func (a *Agent) Hosts() plan.Hosts { return a.net.knownHosts() }

// Needs reports whether a machine in the plan needs the image with this content hash.
func (a *Agent) Needs(hash string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.machines {
		if m.want.Kernel == hash || m.want.Initrd == hash || slices.ContainsFunc(m.want.Disks, func(d hyper.Disk) bool { return d.Base == hash }) {
			return true
		}
	}
	return false
}

// Console returns what instance id last wrote to its serial port, and when.
func (a *Agent) Console(ctx context.Context, id string) ([]byte, time.Time, error) {
	return a.opt.Driver.Console(ctx, id)
}

// Orphans returns the machines of ours on this host that the plan does not
// know. They are left alone.
func (a *Agent) Orphans(ctx context.Context) ([]string, error) {
	if a.opt.Driver == nil {
		return nil, nil
	}
	all, err := a.opt.Driver.List(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, s := range all {
		if a.machines[s.ID] == nil {
			out = append(out, s.ID)
		}
	}
	return out, nil
}

// learn reads what machines the host has.
func (a *Agent) learn(ctx context.Context) error {
	a.learnMu.Lock()
	defer a.learnMu.Unlock()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		a.mu.Lock()
		a.heard = map[string]bool{}
		a.mu.Unlock()
		all, err := a.opt.Driver.List(ctx)
		if err == nil {
			a.learned(all)
			return nil
		}
		a.log.Debug("cannot list machines", "err", err)
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// learned takes a list of all machines on the host. What an event or a worker
// said since it was asked for is newer.
func (a *Agent) learned(all []hyper.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	has := make(map[string]hyper.Status, len(all))
	for _, s := range all {
		has[s.ID] = s
		if a.machines[s.ID] == nil && !a.heard[s.ID] {
			a.others[s.ID] = s
		}
	}
	for id := range a.others {
		if _, ok := has[id]; !ok && !a.heard[id] {
			delete(a.others, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.machines)) { // in one order, so that a simulation replays
		m := a.machines[id]
		if !a.heard[id] {
			s, ok := has[id]
			if !ok {
				s = hyper.Status{ID: id, State: hyper.Absent}
			}
			m.see(s)
		}
		a.enqueue(id, m)
	}
	a.heard = nil
}

// hear notes that there is news of a machine. a.mu is held.
func (a *Agent) hear(id string) {
	if a.heard != nil {
		a.heard[id] = true
	}
}

// watch follows the driver's events.
func (a *Agent) watch(ctx context.Context) error {
	for {
		err := a.opt.Driver.Events(ctx, func(s hyper.Status) {
			if s.ID == "" { // some may be lost
				a.learn(ctx)
				return
			}
			a.event(s)
		})
		if ctx.Err() != nil {
			return nil
		}
		a.log.Error("events of the hypervisor ended", "err", err)
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
}

// event notes what the driver saw a machine do, and reports it.
func (a *Agent) event(s hyper.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.machines[s.ID]
	if m == nil {
		if s.Boot >= a.others[s.ID].Boot {
			a.hear(s.ID)
			a.others[s.ID] = s
		}
		return
	}
	// It may have been on its way while the machine was started again, or ended.
	if s.Boot < m.known.Boot || m.ended {
		return
	}
	a.hear(s.ID)
	m.see(s)
	a.reports.add(m.status())
}

// see takes what the driver says of m.
func (m *machine) see(s hyper.Status) {
	m.known = s
	if s.State == hyper.ShutDown || s.State == hyper.Crashed {
		m.dead = s.Boot
	}
}

// status returns what to report of m.
func (m *machine) status() plan.Status {
	return plan.Status{ID: m.want.ID, State: m.known.State, Boot: m.known.Boot, Since: m.want.Since, Ended: m.ended}
}

// enqueue puts m in the queue unless it is there. a.mu is held.
func (a *Agent) enqueue(id string, m *machine) {
	switch {
	case m.busy:
		m.again = true
	case !m.queued:
		m.queued, m.since = true, time.Now()
		a.queue = append(a.queue, id)
		a.some.Signal()
	}
}

// requeue puts the machine in the queue after d.
func (a *Agent) requeue(id string, d time.Duration) {
	time.AfterFunc(d, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if m := a.machines[id]; m != nil && !a.stopped {
			a.enqueue(id, m)
		}
	})
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
