package ec2

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"eucad/store"
	"eucad/store/cloud"
)

// Bounds of the views.
const (
	viewIdle  = 5 * time.Minute // a view that nobody asked for this long goes
	viewBytes = 96 << 20        // of all views; older ones go first, the newest always stays
	viewSteps = 20_000          // changes that are followed; when there are more, reading anew is cheaper
	viewIDs   = 64              // named instances that are read one by one when their account has no view
)

// views hold, for each account that describes its instances, all of them as
// they were at one revision of the store, encoded. A call that finds the
// store's revision unchanged costs no SQL; otherwise the change feed tells
// which instances to read anew. Items do not change, so a caller may go on
// reading what it selected while the view moves on.
type views struct {
	mu    sync.RWMutex
	rev   uint64 // of all views
	of    map[string]*view
	bytes int
	clock *time.Timer // runs while there are views
}

// A view is the instances of one account.
type view struct {
	byID   map[string]*instanceItem
	sorted []*instanceItem   // by key
	owner  map[string]string // interface → instance
	bytes  int
	used   time.Time
}

func newView(items []*instanceItem) *view {
	v := &view{byID: make(map[string]*instanceItem, len(items)), sorted: items, owner: map[string]string{}}
	for _, it := range items {
		v.index(it)
	}
	return v
}

func (v *view) index(it *instanceItem) {
	v.byID[it.ID] = it
	v.bytes += it.size()
	for n := range it.nics {
		v.owner[it.nics[n].ID] = it.ID
	}
}

func (v *view) find(key string) (int, bool) {
	return slices.BinarySearchFunc(v.sorted, key, func(it *instanceItem, k string) int { return strings.Compare(it.key, k) })
}

// set replaces the instance id by it, which is nil when the instance is gone.
func (v *view) set(id string, it *instanceItem) {
	if was := v.byID[id]; was != nil {
		delete(v.byID, id)
		v.bytes -= was.size()
		for n := range was.nics {
			delete(v.owner, was.nics[n].ID)
		}
		if at, ok := v.find(was.key); ok {
			if it != nil && it.key == was.key {
				v.sorted[at] = it
				v.index(it)
				return
			}
			v.sorted = slices.Delete(v.sorted, at, at+1)
		}
	}
	if it != nil {
		at, _ := v.find(it.key)
		v.sorted = slices.Insert(v.sorted, at, it)
		v.index(it)
	}
}

// viewed calls use with the up-to-date view of account. It makes one if there
// is none, unless the caller can do without: then it reports false.
func (s *Server) viewed(ctx context.Context, account string, build bool, use func(*view)) (bool, error) {
	vs := &s.views
	for {
		vs.mu.RLock()
		v := vs.of[account]
		if v != nil && vs.rev >= s.DB.Rev() {
			use(v)
			idle := time.Since(v.used) > viewIdle/4
			vs.mu.RUnlock()
			if idle {
				vs.mark(account)
			}
			return true, nil
		}
		vs.mu.RUnlock()
		if v == nil && !build {
			return false, nil
		}
		if err := s.refresh(ctx, account); err != nil {
			return false, err
		}
		build = true // it was there; should it go meanwhile, it comes back
	}
}

// mark notes that the view of account is in use.
func (vs *views) mark(account string) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v := vs.of[account]; v != nil {
		v.used = time.Now()
	}
}

// refresh brings all views to the store's revision and adds that of account.
func (s *Server) refresh(ctx context.Context, account string) error {
	vs := &s.views
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.of[account] != nil && vs.rev >= s.DB.Rev() {
		return nil // another caller did it
	}
	return s.DB.Read(ctx, func(rx store.Rx) error {
		rev, err := rx.Rev(ctx)
		if err != nil {
			return err
		}
		if err := s.follow(ctx, rx); err != nil {
			vs.drop()
			if !errors.Is(err, store.ErrTooOld) {
				return err
			}
		}
		vs.rev = rev
		if v := vs.of[account]; v != nil {
			return nil
		}
		items, err := s.readAll(ctx, rx, account)
		if err != nil {
			return err
		}
		vs.add(account, newView(items))
		return nil
	})
}

// follow applies the changes since vs.rev to all views; the caller holds the lock.
func (s *Server) follow(ctx context.Context, rx store.Rx) error {
	vs := &s.views
	if len(vs.of) == 0 {
		return nil
	}
	changes, err := rx.Changes(ctx, vs.rev, viewSteps)
	if err != nil {
		return err
	}
	if len(changes) == viewSteps {
		return store.ErrTooOld
	}
	stale := map[string]map[string]bool{} // account → instances
	for _, c := range changes {
		v := vs.of[c.AccountID]
		if v == nil {
			continue
		}
		if c.Kind == "account" { // deleted, with all rows at once
			vs.remove(c.AccountID)
			continue
		}
		ids, err := v.concerned(ctx, rx, c)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if stale[c.AccountID] == nil {
				stale[c.AccountID] = map[string]bool{}
			}
			stale[c.AccountID][id] = true
		}
	}
	for account, ids := range stale {
		v := vs.of[account]
		if v == nil {
			continue
		}
		before := v.bytes
		names := groupNames{}
		for id := range ids {
			i, ok, err := rx.FindInstance(ctx, id)
			if err != nil {
				return err
			}
			var it *instanceItem
			if ok && i.AccountID == account {
				if it, err = s.readItem(ctx, rx, i, names); err != nil {
					return err
				}
			}
			v.set(id, it)
		}
		vs.bytes += v.bytes - before
	}
	return nil
}

// concerned returns the instances that a change touches. What an address leads
// to is marked as a changed interface by the store; groups keep their names.
func (v *view) concerned(ctx context.Context, rx store.Rx, c store.Change) ([]string, error) {
	switch c.Kind {
	case "instance":
		return []string{c.ID}, nil
	case "tag":
		if cloud.ResourceType(c.ID) == "instance" {
			return []string{c.ID}, nil
		}
	case "interface":
		var ids []string
		if was := v.owner[c.ID]; was != "" {
			ids = append(ids, was)
		}
		n, ok, err := rx.FindInterface(ctx, c.ID)
		if err == nil && ok && n.InstanceID != "" {
			ids = append(ids, n.InstanceID)
		}
		return ids, err
	}
	return nil, nil
}

// add keeps v and lets older views go until all fit.
func (vs *views) add(account string, v *view) {
	if vs.of == nil {
		vs.of = map[string]*view{}
	}
	v.used = time.Now()
	vs.of[account] = v
	vs.bytes += v.bytes
	for vs.bytes > viewBytes && len(vs.of) > 1 {
		oldest := ""
		for a, o := range vs.of {
			if a != account && (oldest == "" || o.used.Before(vs.of[oldest].used)) {
				oldest = a
			}
		}
		vs.remove(oldest)
	}
	if vs.clock == nil {
		vs.clock = time.AfterFunc(viewIdle, vs.expire)
	}
}

func (vs *views) remove(account string) {
	vs.bytes -= vs.of[account].bytes
	delete(vs.of, account)
}

func (vs *views) drop() { vs.of, vs.bytes = nil, 0 }

// expire lets idle views go, and runs again while some are left.
func (vs *views) expire() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for account, v := range vs.of {
		if time.Since(v.used) >= viewIdle {
			vs.remove(account)
		}
	}
	vs.clock = nil
	if len(vs.of) > 0 {
		vs.clock = time.AfterFunc(viewIdle/2, vs.expire)
	}
}
