package node

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"eucad/roles/plan"
)

// reports carries statuses to whoever decides. A newer status of a machine
// takes the place of one that has not left yet, and takes over its phases.
type reports struct {
	mu   sync.Mutex
	ids  []string // in the order they came
	next map[string]plan.Status
	wake chan struct{}
}

func (r *reports) init() {
	r.next, r.wake = map[string]plan.Status{}, make(chan struct{}, 1)
}

func (r *reports) add(s plan.Status) {
	r.mu.Lock()
	was, ok := r.next[s.ID]
	if !ok {
		r.ids = append(r.ids, s.ID)
	}
	if s.Phases == nil && s.Boot == was.Boot {
		s.Phases = was.Phases
	}
	r.next[s.ID] = s
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reports) take() []plan.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]plan.Status, len(r.ids))
	for i, id := range r.ids {
		out[i] = r.next[id]
	}
	r.ids = nil
	clear(r.next)
	return out
}

// giveBack returns statuses that could not be delivered. Newer ones that came
// meanwhile take their places and phases.
func (r *reports) giveBack(s []plan.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, st := range s {
		newer, ok := r.next[st.ID]
		switch {
		case !ok:
			r.ids = append(r.ids, st.ID)
			r.next[st.ID] = st
		case newer.Phases == nil && newer.Boot == st.Boot:
			newer.Phases = st.Phases
			r.next[st.ID] = newer
		}
	}
}

// run delivers until ctx ends.
func (r *reports) run(ctx context.Context, send func(context.Context, []plan.Status) error, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		for s := r.take(); len(s) > 0; s = r.take() {
			if err := send(ctx, s); err != nil && ctx.Err() == nil {
				log.Error("report was not taken", "err", err)
				r.giveBack(s)
				if !sleep(ctx, time.Second) {
					return nil
				}
			}
		}
	}
}
