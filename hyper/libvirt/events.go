package libvirt

import (
	"context"
	"errors"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"eucad/hyper"
)

// Events reports changes until ctx ends, and returns its error. It begins with
// a Status that says that List should be read, and says so again each time it
// has found libvirtd again; see hyper.Driver.
func (d *Driver) Events(ctx context.Context, f func(hyper.Status)) error {
	wait := minBackoff
	for {
		begun, err := d.watch(ctx, f)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.log.Debug("events from libvirtd interrupted", "err", err)
		if begun {
			wait = minBackoff
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, maxBackoff)
	}
}

// errEventsLost says that the connection for events was closed at the other end.
var errEventsLost = errors.New("the connection for events was lost")

// watch passes events on over one connection of its own, and says whether it
// came so far as to receive any.
func (d *Driver) watch(ctx context.Context, f func(hyper.Status)) (begun bool, err error) {
	cn, err := d.client.dial(ctx)
	if err != nil {
		return false, err
	}
	defer cn.Conn.Close()
	var events <-chan golibvirt.DomainEventLifecycleMsg
	limited, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err = cn.do(limited, func(l *golibvirt.Libvirt) error {
		var err error
		// Its context never ends: go-libvirt can hang when a subscription is
		// cancelled (its issue 191), so the connection is closed instead.
		events, err = l.LifecycleEvents(context.Background())
		return err
	})
	if err != nil {
		return false, err
	}
	defer func() {
		cn.Conn.Close()
		for range events { // until go-libvirt's goroutines have ended
		}
	}()
	f(hyper.Status{}) // what happened before is to be had from List
	ping := time.NewTicker(pingPeriod)
	defer ping.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return true, errEventsLost
			}
			if s, ok := d.event(ctx, e); ok {
				f(s)
			}
		case <-ping.C:
			if err := d.ping(ctx, cn); err != nil {
				return true, err
			}
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
}

// ping makes sure that libvirtd still answers on the events' connection.
func (d *Driver) ping(ctx context.Context, cn *conn) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return cn.do(ctx, func(l *golibvirt.Libvirt) error {
		_, err := l.ConnectGetLibVersion()
		return err
	})
}

// event notes what e says, and returns the Status to pass on, if any.
func (d *Driver) event(ctx context.Context, e golibvirt.DomainEventLifecycleMsg) (hyper.Status, bool) {
	id := e.Dom.Name
	d.mu.Lock()
	kept := d.recs[id]
	if kept == nil { // not ours, or removed
		d.mu.Unlock()
		return hyper.Status{}, false
	}
	r := *kept
	switch golibvirt.DomainEventType(e.Event) {
	case golibvirt.DomainEventCrashed:
		d.hints[id] = hyper.Crashed
	case golibvirt.DomainEventShutdown:
		d.hints[id] = hyper.ShutDown
		if golibvirt.DomainEventShutdownDetailType(e.Detail) == golibvirt.DomainEventShutdownHost {
			d.hints[id] = hyper.Stopped // QEMU was asked to end by a signal, as when the host goes down
		}
	}
	hint := d.hints[id]
	d.mu.Unlock()

	switch golibvirt.DomainEventType(e.Event) {
	case golibvirt.DomainEventStarted:
		// It may be noted as running only in a moment.
		return hyper.Status{ID: id, State: hyper.Running, Boot: r.machine.Machine.Boot, Since: time.Now().UTC(), Meta: r.machine.Machine.Meta}, true
	case golibvirt.DomainEventStopped:
		// A guest that runs was started after the one that ended.
		_, running, err := d.find(ctx, id, r.machine.Machine.UUID)
		if err != nil {
			return hyper.Status{}, true // nothing is lost: let List be read
		}
		if running {
			return hyper.Status{}, false
		}
		d.end(id, stopped(golibvirt.DomainEventStoppedDetailType(e.Detail), hint))
		return status(d.record(id)), true
	}
	return hyper.Status{}, false
}

// stopped tells how a domain ended from the event of it, and from what was
// said before.
func stopped(detail golibvirt.DomainEventStoppedDetailType, hint hyper.State) hyper.State {
	switch {
	case detail == golibvirt.DomainEventStoppedCrashed, detail == golibvirt.DomainEventStoppedFailed, hint == hyper.Crashed:
		return hyper.Crashed
	case detail == golibvirt.DomainEventStoppedShutdown && hint == hyper.Stopped:
		return hyper.Stopped
	case detail == golibvirt.DomainEventStoppedShutdown:
		return hyper.ShutDown
	default:
		return hyper.Stopped
	}
}
