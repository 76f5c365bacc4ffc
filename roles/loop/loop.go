// Package loop runs a function again and again: on a period, and when woken.
package loop

import (
	"context"
	"log/slog"
	"time"
)

// A Loop calls do every period, and soon after each Wake. do gets no argument
// on purpose: it must look at the stored state, so that a lost wake-up, a
// restart and a routine pass all take the same path.
type Loop struct {
	name  string
	every time.Duration
	do    func(context.Context) error
	wake  chan struct{}
}

// New returns a Loop that is not yet running.
func New(name string, every time.Duration, do func(context.Context) error) *Loop {
	return &Loop{name: name, every: every, do: do, wake: make(chan struct{}, 1)}
}

// Wake asks for a pass soon. It never blocks; many wakes may make one pass.
func (l *Loop) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run passes until ctx ends. A failed pass is logged and tried again later.
func (l *Loop) Run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-l.wake:
		}
		if err := l.do(ctx); err != nil && ctx.Err() == nil {
			slog.Error("pass failed", "loop", l.name, "err", err)
		}
		t.Reset(l.every)
	}
}
