// Package sim runs machines that only exist in its memory.
//
// It is a product, not a mock: eucad on this driver is a whole EC2 endpoint
// that needs neither root nor libvirt, for trying it out, for continuous
// integration, and for tests of scale. It keeps the promises of hyper.Driver,
// and has knobs for how long things take and what goes wrong.
package sim

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"eucad/hyper"
)

// Options say how a simulated host behaves. The zero value is a large host,
// kept in memory, that does all at once.
type Options struct {
	// Dir keeps the machines on disk, so that they outlive the process; they
	// run on while it is away. Empty keeps them in memory only.
	Dir string
	// Host is what the host has. An unset field is 64 CPUs, 256 GiB of
	// memory, 10 TiB of disk or "x86_64"; Kind is always "sim".
	Host hyper.Host
	// StartDelay is how long a machine takes to start, StopDelay how long a
	// guest takes to obey a request to shut down.
	StartDelay, StopDelay time.Duration
	// Clock is the host's on the wall, by which machines say since when they
	// are as they are; default time.Now.
	Clock func() time.Time
	// Name is by which Volumes knows the host.
	Name string
	// Volumes is the server of disks that have an Epoch; nil refuses those.
	Volumes *Volumes
}

// A Driver simulates one host.
type Driver struct {
	journal *journal // nil without Options.Dir
	name    string
	volumes *Volumes
	clock   func() time.Time

	mu         sync.Mutex
	host       hyper.Host
	startDelay time.Duration
	stopDelay  time.Duration
	failStarts int
	failWith   error
	machines   map[string]*machine
	starting   map[string]chan struct{} // closed when the start is over
	watchers   map[*watcher]struct{}
}

var _ hyper.Driver = (*Driver)(nil)

// A machine is what the simulation knows of one machine.
type machine struct {
	ID        string
	Boot      uint64 // as last started
	State     hyper.State
	Since     time.Time
	CPUs      int
	MemoryMiB int
	Disks     []diskFacts
	MACs      []string
	Meta      []byte

	stop *time.Timer // while it shuts down
}

type diskFacts struct {
	ID    string
	Bytes int64
}

// New returns a simulated host, with the machines that Options.Dir holds.
func New(o Options) (*Driver, error) {
	d := &Driver{
		name: o.Name, volumes: o.Volumes, clock: o.Clock,
		startDelay: o.StartDelay, stopDelay: o.StopDelay,
		machines: map[string]*machine{}, starting: map[string]chan struct{}{}, watchers: map[*watcher]struct{}{},
	}
	if d.clock == nil {
		d.clock = time.Now
	}
	d.SetHost(o.Host)
	if o.Dir != "" {
		var err error
		if d.journal, d.machines, err = openJournal(filepath.Join(o.Dir, "sim.journal")); err != nil {
			return nil, fmt.Errorf("open the simulated machines: %w", err)
		}
	}
	return d, nil
}

// Close stops the simulation. What Options.Dir holds stays.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.machines {
		m.cancelStop()
	}
	return d.journal.close()
}

// Apply makes m as described; see hyper.Driver.
func (d *Driver) Apply(ctx context.Context, m hyper.Machine) error {
	if err := m.Check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.awaitStart(ctx, m.ID); err != nil {
		return err
	}
	was, known := d.machines[m.ID]
	now := d.describe(m)
	if known {
		now.State, now.Boot, now.Since, now.stop = was.State, was.Boot, was.Since, was.stop
	}
	running := now.State == hyper.Running
	ended := now.State == hyper.ShutDown || now.State == hyper.Crashed
	switch {
	case m.Power == hyper.On && running && now.Boot < m.Boot:
		now.cancelStop()
		now.Boot, now.Since = m.Boot, d.now()
	case m.Power == hyper.On && !running && (!ended || now.Boot < m.Boot):
		return d.start(ctx, now, m)
	case m.Power == hyper.Cut && running:
		now.cancelStop()
		now.State, now.Since = hyper.Stopped, d.now()
	case m.Power == hyper.Off && running && now.stop == nil:
		boot := now.Boot
		now.stop = time.AfterFunc(d.stopDelay, func() { d.end(m.ID, boot, hyper.ShutDown) })
	}
	return d.put(now, known && was.State != now.State)
}

// describe returns what the simulation keeps of m, stopped.
func (d *Driver) describe(m hyper.Machine) *machine {
	now := &machine{ID: m.ID, State: hyper.Stopped, Since: d.now(), CPUs: m.CPUs, MemoryMiB: m.MemoryMiB, Meta: m.Meta}
	for _, disk := range m.Disks {
		now.Disks = append(now.Disks, diskFacts{disk.ID, disk.SizeBytes})
	}
	for _, n := range m.NICs {
		now.MACs = append(now.MACs, n.MAC)
	}
	return now
}

func (d *Driver) now() time.Time { return d.clock().UTC() }

// awaitStart waits, with d.mu released, until no start of the machine is under way.
func (d *Driver) awaitStart(ctx context.Context, id string) error {
	for {
		busy, ok := d.starting[id]
		if !ok {
			return nil
		}
		d.mu.Unlock()
		var err error
		select {
		case <-busy:
		case <-ctx.Done():
			err = ctx.Err()
		}
		d.mu.Lock()
		if err != nil {
			return err
		}
	}
}

// start starts a machine that doesn't run. It holds d.mu but while it waits.
func (d *Driver) start(ctx context.Context, m *machine, want hyper.Machine) error {
	if err := d.put(m, false); err != nil {
		return err
	}
	if d.startDelay > 0 {
		over := make(chan struct{})
		d.starting[m.ID] = over
		wait := time.NewTimer(d.startDelay)
		d.mu.Unlock()
		var err error
		select {
		case <-wait.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		wait.Stop()
		d.mu.Lock()
		delete(d.starting, m.ID)
		close(over)
		if err != nil {
			return err
		}
	}
	if d.failStarts > 0 {
		d.failStarts--
		return fmt.Errorf("start machine %s: %w", m.ID, d.failWith)
	}
	if err := d.open(want); err != nil {
		return fmt.Errorf("start machine %s: %w", m.ID, err)
	}
	now := *m
	now.State, now.Boot, now.Since = hyper.Running, want.Boot, d.now()
	return d.put(&now, true)
}

// open opens the disks that are at a volume server. It holds d.mu, so that a
// machine which loses one at once does so when it runs.
func (d *Driver) open(m hyper.Machine) error {
	for n, disk := range m.Disks {
		switch {
		case disk.Epoch == 0:
			continue
		case d.volumes == nil:
			return fmt.Errorf("%w: disk %s is at a volume server, and there is none", hyper.ErrInvalid, disk.ID)
		}
		if err := d.volumes.open(disk.ID, d.name, disk.Epoch, func() { d.Crash(m.ID) }); err != nil {
			for _, opened := range m.Disks[:n] {
				d.volumes.close(opened.ID, d.name)
			}
			return err
		}
	}
	return nil
}

// closeDisks closes what the machine m (nil: none) may have open at the volume
// server.
func (d *Driver) closeDisks(m *machine) {
	if d.volumes == nil || m == nil || m.State != hyper.Running {
		return
	}
	for _, disk := range m.Disks {
		d.volumes.close(disk.ID, d.name)
	}
}

// end ends a machine that still runs with this boot.
func (d *Driver) end(id string, boot uint64, how hyper.State) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[id]
	if m == nil || m.State != hyper.Running || m.Boot != boot {
		return false
	}
	m.cancelStop()
	now := *m
	now.State, now.Since = how, d.now()
	// There is nobody to tell of a journal that can't be written; the next
	// Apply will meet the same error.
	_ = d.put(&now, true)
	return true
}

// put keeps m, on disk too when anything but its timer has changed. From then
// on m is not changed any more, but for the timer.
func (d *Driver) put(m *machine, event bool) error {
	was := d.machines[m.ID]
	d.machines[m.ID] = m
	if m.State != hyper.Running {
		d.closeDisks(was)
	}
	if event {
		d.tell(m.status())
	}
	if was != nil && was.same(m) {
		return nil
	}
	return d.journal.write(m, d.machines)
}

// Remove forgets the machine; see hyper.Driver.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := hyper.CheckID(id); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.awaitStart(ctx, id); err != nil {
		return err
	}
	m := d.machines[id]
	if m == nil {
		return nil
	}
	m.cancelStop()
	d.closeDisks(m)
	delete(d.machines, id)
	return d.journal.write(&machine{ID: id, State: hyper.Absent}, d.machines)
}

// List reports every machine in the order of their ids; see hyper.Driver.
func (d *Driver) List(ctx context.Context) ([]hyper.Status, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]hyper.Status, 0, len(d.machines))
	for _, id := range slices.Sorted(maps.Keys(d.machines)) {
		out = append(out, d.machines[id].status())
	}
	return out, nil
}

// Host reports what the simulated host has; see hyper.Driver.
func (d *Driver) Host(ctx context.Context) (hyper.Host, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.host, ctx.Err()
}

func (m *machine) status() hyper.Status {
	return hyper.Status{ID: m.ID, State: m.State, Boot: m.Boot, Since: m.Since, Meta: m.Meta}
}

func (m *machine) cancelStop() {
	if m.stop != nil {
		m.stop.Stop()
		m.stop = nil
	}
}
