package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"

	"eucad/hyper"
)

// askPeriod is the least time between two requests to a guest to shut down.
// Some guests take a second one, while the first is under way, as a new one.
const askPeriod = 5 * time.Second

// Apply makes m as described; see hyper.Driver.
func (d *Driver) Apply(ctx context.Context, m hyper.Machine) error {
	if err := m.Check(); err != nil {
		return err
	}
	if slices.ContainsFunc(m.Disks, func(k hyper.Disk) bool { return k.Epoch > 0 }) {
		return fmt.Errorf("%w: %s has a disk at a volume server, which only simulated machines reach yet", hyper.ErrInvalid, m.ID)
	}
	unlock, err := d.locks.lock(ctx, m.ID)
	if err != nil {
		return err
	}
	defer unlock()
	dom, running, err := d.find(ctx, m.ID, m.UUID)
	if err != nil {
		return err
	}
	if running {
		return d.applyRunning(ctx, m, dom)
	}
	d.settle(m.ID)
	r := d.record(m.ID)
	ended := r.state.State == hyper.ShutDown || r.state.State == hyper.Crashed
	if m.Power != hyper.On || ended && r.state.Boot >= m.Boot {
		return d.prepare(ctx, m)
	}
	return d.start(ctx, m)
}

// applyRunning makes a running machine do what m.Power says.
func (d *Driver) applyRunning(ctx context.Context, m hyper.Machine, dom golibvirt.Domain) error {
	if err := d.adopt(ctx, m, dom); err != nil {
		return err
	}
	r := d.record(m.ID)
	switch {
	case m.Power == hyper.Cut:
		return d.cut(ctx, m.ID, dom)
	case m.Power == hyper.Off:
		return d.shutDown(ctx, m.ID, dom)
	case r.state.Boot < m.Boot:
		if err := d.signal(ctx, m.ID, "reset", func(l *golibvirt.Libvirt) error { return l.DomainReset(dom, 0) }); err != nil {
			return err
		}
		r.state.Boot, r.state.Since = m.Boot, time.Now().UTC()
		r.machine.Machine.Boot = m.Boot
		if err := d.keep(r); err != nil {
			return err
		}
	}
	if !bytes.Equal(r.machine.Machine.Meta, m.Meta) {
		if err := d.setMeta(ctx, r, m, dom); err != nil {
			return err
		}
	}
	return d.resume(ctx, m.ID, dom)
}

// setMeta replaces what is kept with a running domain.
func (d *Driver) setMeta(ctx context.Context, r record, m hyper.Machine, dom golibvirt.Domain) error {
	r.machine.Machine.Meta = m.Meta
	xml := noteXML(r.machine.Machine, d.machineDir(m.ID), false)
	err := d.signal(ctx, m.ID, "note metadata of", func(l *golibvirt.Libvirt) error {
		return l.DomainSetMetadata(dom, int32(golibvirt.DomainMetadataElement), golibvirt.OptString{xml},
			golibvirt.OptString{"eucad"}, golibvirt.OptString{metadataURI}, golibvirt.DomainAffectLive)
	})
	if err != nil {
		return err
	}
	return d.keep(r)
}

// resume lets a guest go on that QEMU stopped when the host's disk was full.
func (d *Driver) resume(ctx context.Context, id string, dom golibvirt.Domain) error {
	return d.signal(ctx, id, "resume", func(l *golibvirt.Libvirt) error {
		state, reason, err := l.DomainGetState(dom, 0)
		if err != nil || golibvirt.DomainState(state) != golibvirt.DomainPaused || golibvirt.DomainPausedReason(reason) != golibvirt.DomainPausedIoerror {
			return err
		}
		return l.DomainResume(dom)
	})
}

// shutDown presses the guest's power button.
func (d *Driver) shutDown(ctx context.Context, id string, dom golibvirt.Domain) error {
	d.mu.Lock()
	recent := time.Since(d.asked[id]) < askPeriod
	if !recent {
		d.asked[id] = time.Now()
	}
	d.mu.Unlock()
	if recent {
		return nil
	}
	return d.signal(ctx, id, "shut down", func(l *golibvirt.Libvirt) error {
		return l.DomainShutdownFlags(dom, golibvirt.DomainShutdownAcpiPowerBtn)
	})
}

// cut destroys a domain, and notes that it was we who did.
func (d *Driver) cut(ctx context.Context, id string, dom golibvirt.Domain) error {
	if err := d.signal(ctx, id, "stop", func(l *golibvirt.Libvirt) error { return l.DomainDestroyFlags(dom, 0) }); err != nil {
		return err
	}
	d.end(id, hyper.Stopped)
	return nil
}

// signal makes a call about a domain that may be gone meanwhile, which is as well.
func (d *Driver) signal(ctx context.Context, id, verb string, f func(*golibvirt.Libvirt) error) error {
	err := d.client.call(ctx, callTime, f)
	if isCode(err, golibvirt.ErrNoDomain) || isCode(err, golibvirt.ErrOperationInvalid) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s machine %s: %w", verb, id, err)
	}
	return nil
}

// prepare makes the record and disks of a machine that is not to run.
func (d *Driver) prepare(ctx context.Context, m hyper.Machine) error {
	fresh := !exists(d.machineDir(m.ID))
	if err := os.MkdirAll(d.machineDir(m.ID), 0o711); err != nil {
		return fmt.Errorf("make the directory of machine %s: %w", m.ID, err)
	}
	r := d.record(m.ID)
	old := r.machine
	r.machine.Machine = m
	for _, disk := range m.Disks {
		if !exists(disk.Path) && !slices.Contains(r.machine.Made, disk.Path) {
			r.machine.Made = append(r.machine.Made, disk.Path)
		}
	}
	var g errgroup.Group
	if !sameMade(old, r.machine) {
		g.Go(func() error { return d.keepMachine(r) })
	}
	for _, disk := range m.Disks {
		g.Go(func() error { return makeDisk(ctx, disk) })
	}
	if err := g.Wait(); err != nil {
		if fresh {
			err = errors.Join(err, d.erase(r))
		}
		return fmt.Errorf("prepare machine %s: %w", m.ID, err)
	}
	return nil
}

// start starts a machine that doesn't run.
func (d *Driver) start(ctx context.Context, m hyper.Machine) error {
	kind, err := d.kind(ctx)
	if err != nil {
		return err
	}
	xml, err := domainXML(kind, m, d.machineDir(m.ID))
	if err != nil {
		return fmt.Errorf("describe machine %s: %w", m.ID, err)
	}
	if err := d.prepare(ctx, m); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.asked, m.ID)
	delete(d.hints, m.ID)
	d.mu.Unlock()
	err = d.client.call(ctx, createTime, func(l *golibvirt.Libvirt) error {
		_, err := l.DomainCreateXML(xml, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("start machine %s: %w", m.ID, errors.Join(err, d.explain(m, err)))
	}
	r := d.record(m.ID)
	r.state = state{State: hyper.Running, Boot: m.Boot, Host: d.boot, Since: time.Now().UTC()}
	if err := d.keepState(r); err != nil {
		return err
	}
	// It may have ended before it was noted as running, and the event been
	// passed over.
	if _, running, err := d.find(ctx, m.ID, m.UUID); err == nil && !running {
		d.settle(m.ID)
	}
	return nil
}
