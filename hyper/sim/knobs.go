package sim

import (
	"time"

	"eucad/hyper"
)

// SetDelays changes how long starts and requested shutdowns take from now on.
func (d *Driver) SetDelays(start, stop time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.startDelay, d.stopDelay = start, stop
}

// SetHost changes what the host has; see Options.Host.
func (d *Driver) SetHost(h hyper.Host) {
	set := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	set(&h.CPUs, 64)
	set(&h.MemoryMiB, 256<<10)
	if h.DiskBytes == 0 {
		h.DiskBytes = 10 << 40
	}
	if h.Arch == "" {
		h.Arch = "x86_64"
	}
	h.Kind = "sim"
	d.mu.Lock()
	defer d.mu.Unlock()
	d.host = h
}

// FailStarts makes the next n starts fail with err.
func (d *Driver) FailStarts(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failStarts, d.failWith = n, err
}

// Crash makes the machine crash, as if its emulator had died, and says
// whether it ran.
func (d *Driver) Crash(id string) bool { return d.end(id, d.bootOf(id), hyper.Crashed) }

// ShutDown makes the guest power itself off, and says whether it ran.
func (d *Driver) ShutDown(id string) bool { return d.end(id, d.bootOf(id), hyper.ShutDown) }

func (d *Driver) bootOf(id string) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.machines[id]; m != nil {
		return m.Boot
	}
	return 0
}

// RebootHost takes the host down and up again: no machine runs any more, and
// none of them ended by itself. Watchers are told to read List.
func (d *Driver) RebootHost() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.machines {
		if m.State != hyper.Running {
			continue
		}
		m.cancelStop()
		now := *m
		now.State, now.Since = hyper.Stopped, d.now()
		if err := d.put(&now, false); err != nil {
			return err
		}
	}
	d.tell(hyper.Status{})
	return nil
}
