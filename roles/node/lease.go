package node

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"eucad/hyper"
	"eucad/roles/plan"
)

const (
	leaseTick = time.Second      // between looks at the lease
	cutTime   = 10 * time.Second // for one try to stop guests
)

// A lease is when the zone's head last granted one to this node, by this
// process's monotonic clock.
type lease struct {
	start   time.Time // of the agent
	renewed time.Time // when was asked for what it last granted; zero: nothing yet
	owed    bool      // some guest was stopped or not started for want of a lease
}

// allows reports whether guests that may be started elsewhere may be started
// here, and whether those that run may go on. After a restart of eucad guests
// go on for a while, for that must not disturb them; but none starts before
// the head answers, for it may have been started elsewhere.
func (l lease) allows(now time.Time) (start, keep bool) {
	if l.renewed.IsZero() {
		return false, now.Sub(l.start) < plan.StopAfter
	}
	ok := now.Sub(l.renewed) < plan.StopAfter
	return ok, ok
}

// Renewed notes that the head has granted the lease that it was asked for at
// this time.
func (a *Agent) Renewed(sent time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if sent.After(a.lease.renewed) {
		a.lease.renewed = sent
	}
}

// mayStart reports whether the lease allows what is wanted of a machine.
func (a *Agent) mayStart(want plan.Machine, known hyper.Status) bool {
	if !a.opt.Leased || !want.Movable || want.Ended || want.Power != hyper.On {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	start, keep := a.lease.allows(time.Now())
	if start || keep && known.State == hyper.Running {
		return true
	}
	a.lease.owed = true
	return false
}

// keepLease stops the guests that may be started elsewhere when the lease has
// run out, and starts them again when there is one, until ctx ends.
func (a *Agent) keepLease(ctx context.Context) error {
	t := time.NewTicker(leaseTick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		a.mu.Lock()
		start, keep := a.lease.allows(time.Now())
		var run []plan.Machine
		for _, id := range slices.Sorted(maps.Keys(a.machines)) {
			m := a.machines[id]
			if !m.want.Movable || m.want.Ended {
				continue
			}
			if start && a.lease.owed {
				a.enqueue(id, m)
			}
			if m.known.State == hyper.Running {
				run = append(run, m.want)
			}
		}
		if start {
			a.lease.owed = false
		}
		if !keep && len(run) > 0 {
			a.lease.owed = true
		}
		a.mu.Unlock()
		if !keep {
			a.cut(ctx, run)
		}
	}
}

// cut pulls the plug of guests, without waiting for workers: these may wait
// for a front end that does not answer. What fails is tried again by the next
// look at the lease.
func (a *Agent) cut(ctx context.Context, guests []plan.Machine) {
	ctx, cancel := context.WithTimeout(ctx, cutTime)
	defer cancel()
	var wg sync.WaitGroup
	limit := make(chan struct{}, a.opt.Workers)
	for _, g := range guests {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			m := g.Machine
			m.Power, m.Disks, m.Kernel, m.Initrd = hyper.Cut, nil, "", "" // paths need images, and those a front end
			if err := a.opt.Driver.Apply(ctx, m); err != nil {
				a.log.Error("a guest that may be started elsewhere does not stop", "instance", g.ID, "err", err)
				return
			}
			a.log.Warn("the lease has run out: a guest that may be started elsewhere was stopped", "instance", g.ID)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.hear(g.ID)
			if m := a.machines[g.ID]; m != nil && m.known.State == hyper.Running {
				m.known.State = hyper.Stopped
			}
		})
	}
	wg.Wait()
}
