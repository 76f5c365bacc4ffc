package frontend

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"eucad/roles/plan"
)

// maxQueued bounds the messages that wait for a host. One that is so far
// behind is told its whole plan when it comes again.
const maxQueued = 4096

var errBehind = errors.New("the host does not take its plan as fast as it changes")

// A session is one host's stream of its plan. Control delivers to it, and the
// host's request takes from it.
type session struct {
	epoch uint64

	mu    sync.Mutex
	queue []plan.Batch
	over  bool
	wake  chan struct{}
}

func newSession(epoch uint64) *session {
	return &session{epoch: epoch, wake: make(chan struct{}, 1)}
}

// Deliver queues b; see control.Node.
func (s *session) Deliver(b plan.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= maxQueued {
		s.over, s.queue = true, nil
	}
	if !s.over {
		s.queue = append(s.queue, b)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// next waits for the next message; see peer.Stream.
func (s *session) next(ctx context.Context) (position string, data any, err error) {
	for {
		s.mu.Lock()
		switch {
		case s.over:
			s.mu.Unlock()
			return "", nil, errBehind
		case len(s.queue) > 0:
			b := s.queue[0]
			s.queue[0] = plan.Batch{}
			s.queue = s.queue[1:]
			s.mu.Unlock()
			return fmt.Sprintf("%d.%d", s.epoch, b.Rev), plan.Message{Epoch: s.epoch, Batch: b}, nil
		}
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-ctx.Done():
			return "", nil, ctx.Err()
		}
	}
}
