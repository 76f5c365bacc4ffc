package peer

import (
	"context"
	"crypto/x509"
	"maps"
	"net/http"
	"slices"
	"sync"
)

// A DenyList names hosts that are no longer welcome though their certificates
// are good. It is looked at in every handshake and for every request, and what a
// host has open ends when it gets on the list. A nil list denies nobody.
type DenyList struct {
	mu      sync.Mutex
	entries map[string]bool
	open    map[*openRequest]struct{}
}

type openRequest struct {
	names []string // of whoever is behind the request, as entries have them
	end   context.CancelFunc
}

// Set replaces the list. An entry is an identity as Identity.String writes it,
// or the serial number of one certificate as Serial writes it.
func (d *DenyList) Set(entries []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = map[string]bool{}
	for _, e := range entries {
		d.entries[e] = true
	}
	for r := range d.open {
		if d.has(r.names) {
			r.end()
		}
	}
}

// Entries returns the list.
func (d *DenyList) Entries() []string {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.entries))
}

func (d *DenyList) has(names []string) bool {
	for _, n := range names {
		if d.entries[n] {
			return true
		}
	}
	return false
}

// check refuses whoever has one of the names.
func (d *DenyList) check(names ...string) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.has(names) {
		return Errorf(http.StatusForbidden, Denied, "%s is no longer welcome in this cloud", names[0])
	}
	return nil
}

func (d *DenyList) checkCertificate(id Identity, c *x509.Certificate) error {
	return d.check(id.String(), Serial(c))
}

// follow cancels the context when one of the names gets on the list, until
// done is called.
func (d *DenyList) follow(ctx context.Context, names ...string) (_ context.Context, done func(), _ error) {
	if d == nil {
		return ctx, func() {}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &openRequest{names, cancel}
	d.mu.Lock()
	if d.open == nil {
		d.open = map[*openRequest]struct{}{}
	}
	d.open[r] = struct{}{}
	d.mu.Unlock()
	done = func() {
		cancel()
		d.mu.Lock()
		delete(d.open, r)
		d.mu.Unlock()
	}
	// After it is in d.open, so that no Set falls between.
	if err := d.check(names...); err != nil {
		done()
		return nil, nil, err
	}
	return ctx, done, nil
}
