package ec2

import (
	"context"
	"sync/atomic"
	"time"

	"eucad/store/cloud"
)

const (
	holdTime  = 2 * time.Second // clients' waiters look every 15 s; their reads time out after 60 s
	holdsMost = 128             // calls held at once; more are answered at once
)

// holds counts the calls that are held.
type holds struct{ n atomic.Int32 }

// hold calls look until nothing that it sees is on its way to another state,
// but for holdTime at most. AWS's waiters look once at once and then every
// 15 s, so an answer that comes a little late comes much earlier. look is
// called again after every commit; it reports whether all is at rest.
func (s *Server) hold(ctx context.Context, look func() (rest bool, err error)) error {
	changed := s.DB.Changed()
	rest, err := look()
	if err != nil || rest {
		return err
	}
	defer s.holds.n.Add(-1)
	if s.holds.n.Add(1) > holdsMost {
		return nil
	}
	limit := time.NewTimer(holdTime)
	defer limit.Stop()
	for {
		select {
		case <-changed:
			changed = s.DB.Changed()
			if rest, err = look(); err != nil || rest {
				return err
			}
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// allAtRest reports whether no item is on its way to another state.
func allAtRest(items []*instanceItem) bool {
	for _, it := range items {
		if !it.State.AtRest() {
			return false
		}
	}
	return true
}

// selectInstances returns the items of the named instances, or all of the
// account's when none is named, by key. Those that are named are waited for
// (see hold).
func (s *Server) selectInstances(ctx context.Context, ids []string) (items []*instanceItem, err error) {
	if err := checkIDs("i", ids...); err != nil {
		return nil, err
	}
	acct := account(ctx)
	if len(ids) == 0 {
		_, err := s.viewed(ctx, acct, true, func(v *view) { items = append(items, v.sorted...) })
		return items, err
	}
	err = s.hold(ctx, func() (bool, error) {
		var missing string
		ok, err := s.viewed(ctx, acct, len(ids) > viewIDs, func(v *view) { items, missing = v.named(ids) })
		switch {
		case err != nil:
			return false, err
		case !ok:
			items, err = s.readItems(ctx, acct, ids)
		case missing != "":
			err = cloud.NotFound(missing)
		}
		return allAtRest(items), err
	})
	return items, err
}

// named returns the items of ids by key, each once, and the first id that is not there.
func (v *view) named(ids []string) (items []*instanceItem, missing string) {
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		it := v.byID[id]
		if it == nil {
			return nil, id
		}
		if !seen[id] {
			seen[id] = true
			items = append(items, it)
		}
	}
	if len(items) > 1 {
		sortItems(items)
	}
	return items, ""
}
