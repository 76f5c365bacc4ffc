package control

import (
	"sync"
	"time"

	"eucad/store/cloud"
)

// waited tells for how long instances have been in states that wait, by this
// process's monotonic clock: the clock on the wall, by which the store says
// since when, may be set in the meantime. It counts from when this process
// first saw an instance so. After a restart a wait begins anew, so that no
// deadline comes too early, and each too late by at most one life of the process.
type waited struct {
	mu sync.Mutex
	at map[string]wait // by instance
}

// A wait is one stay of an instance in a state.
type wait struct {
	state cloud.InstanceState
	since time.Time // Instance.Since, to tell this stay from others
	seen  time.Time
}

func (w wait) is(i cloud.Instance) bool { return w.state == i.State && w.since.Equal(i.Since) }

// of returns for how long i has been in its state.
func (w *waited) of(i cloud.Instance) time.Duration {
	if i.State.AtRest() {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	have, ok := w.at[i.ID]
	if !ok || !have.is(i) {
		have = wait{i.State, i.Since, time.Now()}
		if w.at == nil {
			w.at = map[string]wait{}
		}
		w.at[i.ID] = have
	}
	return time.Since(have.seen)
}

// keep forgets all instances but those, which are all that wait.
func (w *waited) keep(moving []cloud.Instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := make(map[string]wait, len(moving))
	for _, i := range moving {
		if have, ok := w.at[i.ID]; ok && have.is(i) {
			now[i.ID] = have
		}
	}
	w.at = now
}
