package sim

import (
	"context"
	"sync/atomic"

	"eucad/hyper"
)

// maxEvents bounds what waits for a slow watcher. When there is more, it is
// dropped and the watcher told to read List.
const maxEvents = 256

// A watcher is one call of Events.
type watcher struct {
	queue chan hyper.Status
	lost  atomic.Bool
}

// Events reports changes until ctx ends, and returns its error. It begins
// with a Status that says that List should be read; see hyper.Driver.
func (d *Driver) Events(ctx context.Context, f func(hyper.Status)) error {
	w := &watcher{queue: make(chan hyper.Status, maxEvents)}
	d.mu.Lock()
	d.watchers[w] = struct{}{}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.watchers, w)
		d.mu.Unlock()
	}()
	f(hyper.Status{})
	for {
		select {
		case s := <-w.queue:
			f(s)
			if w.lost.Swap(false) {
				f(hyper.Status{})
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell passes s to all watchers. It holds d.mu, so that all see one order.
func (d *Driver) tell(s hyper.Status) {
	for w := range d.watchers {
		select {
		case w.queue <- s:
		default:
			w.lost.Store(true)
		}
	}
}
