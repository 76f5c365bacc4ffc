package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"eucad/hyper"
	"eucad/net/fabric"
	"eucad/roles/plan"
	"eucad/store/cloud"
)

const (
	retryMin = time.Second // between tries of a machine that fails
	retryMax = 30 * time.Second
	askAgain = 3 * time.Second // a guest that was asked to shut down is asked again
)

// work takes machines from the queue until the agent stops.
func (a *Agent) work(ctx context.Context) {
	for {
		a.mu.Lock()
		for len(a.queue) == 0 && !a.stopped {
			a.some.Wait()
		}
		if a.stopped {
			a.mu.Unlock()
			return
		}
		id := a.queue[0]
		a.queue = a.queue[1:]
		m := a.machines[id]
		if m == nil {
			a.mu.Unlock()
			continue
		}
		m.queued, m.busy, m.again = false, true, false
		want, known := m.want, m.known
		w := &stopwatch{last: m.since}
		a.mu.Unlock()

		w.lap("queue")
		now, err := a.apply(ctx, want, known, w)
		if ctx.Err() != nil {
			return
		}
		if err != nil || known.State == hyper.Running || now.State != hyper.Running {
			w.phases = nil // they tell of starts
		}
		a.done(m, want, now, w.phases, err)
	}
}

// A stopwatch notes how long the phases of a start take.
type stopwatch struct {
	last   time.Time
	phases []cloud.Phase
}

// lap ends a phase; the next one begins.
func (w *stopwatch) lap(name string) {
	now := time.Now()
	w.phases = append(w.phases, cloud.Phase{Name: name, Took: now.Sub(w.last)})
	w.last = now
}

// done notes what became of m, reports it, and has it tried again when it must be.
func (a *Agent) done(m *machine, want plan.Machine, now hyper.Status, phases []cloud.Phase, err error) {
	a.mu.Lock()
	m.busy = false
	a.hear(want.ID)
	if now.State == hyper.Running && m.dead >= now.Boot {
		now = m.known // it ended by itself before we could look, or after a later start
	}
	m.known, m.ended = now, want.Ended && err == nil
	st := m.status()
	st.Phases, st.Since = phases, want.Since // and not of what it has been told meanwhile
	var retry time.Duration
	switch {
	case err != nil:
		st.Err, st.Final = err.Error(), final(err)
		retry = min(retryMin<<min(m.retries, 5), retryMax)
		m.retries++
	case !want.Ended && want.Power == hyper.Off && now.State == hyper.Running:
		retry = askAgain
	}
	a.reports.add(st) // before another worker may have news of it
	if m.again {
		a.enqueue(want.ID, m)
		retry = 0
	}
	a.mu.Unlock()

	if err != nil {
		a.log.Error("machine is not as planned", "instance", want.ID, "err", err)
	}
	if retry > 0 {
		a.requeue(want.ID, retry)
	}
}

// final reports whether a machine that failed so will fail again.
func final(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, hyper.ErrInvalid)
}

// apply makes one machine as planned and returns how it then is.
func (a *Agent) apply(ctx context.Context, want plan.Machine, known hyper.Status, w *stopwatch) (hyper.Status, error) {
	if want.Ended || want.Power != hyper.On {
		// With an older plan this host would start it again after a crash.
		if err := a.keepNow(); err != nil {
			return known, err
		}
	}
	if want.Ended {
		return a.end(ctx, want, known)
	}
	if !a.mayStart(want, known) {
		return known, nil
	}
	if err := a.resolve(ctx, &want.Machine); err != nil {
		return known, err
	}
	w.lap("image")
	switch {
	case want.Power == hyper.On:
		return a.start(ctx, want, known, w)
	case known.State == hyper.Absent:
		return hyper.Status{ID: want.ID, State: hyper.Stopped, Boot: known.Boot}, nil
	}
	if err := a.opt.Driver.Apply(ctx, want.Machine); err != nil {
		return known, err
	}
	if want.Power == hyper.Cut && known.State == hyper.Running {
		known.State = hyper.Stopped
	}
	return known, nil
}

// start brings the machine up: filters first, then a tap, then the guest,
// then its way into the network.
func (a *Agent) start(ctx context.Context, want plan.Machine, known hyper.Status, w *stopwatch) (hyper.Status, error) {
	ports, err := a.net.ports(ctx, want.VpcID, want.Ports)
	if err != nil {
		return known, err
	}
	w.lap("filters")
	if known.State != hyper.Running {
		for _, p := range ports {
			if err := a.opt.Network.OpenPort(ctx, p); err != nil {
				return known, fmt.Errorf("network of %s: %w", want.ID, err)
			}
		}
		w.lap("ports")
	}
	if !a.mayStart(want, known) { // image and ports took their time
		return known, nil
	}
	if err := a.opt.Driver.Apply(ctx, want.Machine); err != nil {
		return known, err
	}
	w.lap("disks and guest")
	now := hyper.Status{ID: want.ID, State: hyper.Running, Boot: want.Boot, Since: time.Now()}
	err = a.plug(ctx, ports)
	w.lap("plug")
	return now, err
}

// plug lets a guest into its network. One that runs may not have been let in
// when it was started.
func (a *Agent) plug(ctx context.Context, ports []fabric.Port) error {
	var errs []error
	for _, p := range ports {
		if err := a.opt.Network.Plug(ctx, p.ID); err != nil {
			errs = append(errs, fmt.Errorf("plug %s: %w", p.ID, err))
		}
	}
	return errors.Join(errs...)
}

// resolve turns content hashes into paths on this host.
func (a *Agent) resolve(ctx context.Context, m *hyper.Machine) error {
	m.Disks = slices.Clone(m.Disks)
	paths := []*string{&m.Kernel, &m.Initrd}
	for i := range m.Disks {
		m.Disks[i].Path = a.diskPath(m.ID, m.Disks[i].ID)
		paths = append(paths, &m.Disks[i].Base)
	}
	for _, p := range paths {
		if *p == "" {
			continue
		}
		path, err := a.opt.Image(ctx, *p)
		if err != nil {
			return fmt.Errorf("image of %s: %w", m.ID, err)
		}
		*p = path
	}
	return nil
}

// end removes the guest, its disks but those to keep, and its ports.
func (a *Agent) end(ctx context.Context, want plan.Machine, known hyper.Status) (hyper.Status, error) {
	if len(want.Keep) > 0 && known.State == hyper.Running {
		cut := want.Machine
		cut.Power, cut.Disks, cut.Kernel, cut.Initrd = hyper.Cut, nil, "", ""
		if err := a.opt.Driver.Apply(ctx, cut); err != nil {
			return known, err
		}
	}
	if err := a.keep(want); err != nil {
		return known, err
	}
	if err := a.opt.Driver.Remove(ctx, want.ID); err != nil {
		return known, err
	}
	gone := hyper.Status{ID: want.ID, State: hyper.Absent, Boot: known.Boot}
	return gone, a.net.unplug(ctx, want.VpcID, want.Ports)
}

// keep moves the disks that outlive the machine out of its way.
func (a *Agent) keep(want plan.Machine) error {
	for _, id := range want.Keep {
		err := os.Rename(a.diskPath(want.ID, id), a.keptPath(id))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // never made, or kept before
			return fmt.Errorf("keep %s: %w", id, err)
		}
	}
	return nil
}

// drop deletes what was kept of volumes that are deleted now.
func (a *Agent) drop(volumes []string) {
	for _, id := range volumes {
		err := os.Remove(a.keptPath(id))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			a.log.Error("cannot delete a volume", "volume", id, "err", err)
		}
	}
}

// keptPath returns where a volume is that outlived its machine.
func (a *Agent) keptPath(volume string) string {
	return filepath.Join(a.opt.Dir, "volumes", volume+".qcow2")
}

// diskPath returns where the disk volume of machine id is.
func (a *Agent) diskPath(id, volume string) string {
	return filepath.Join(a.opt.Dir, "machines", id, volume+".qcow2")
}
