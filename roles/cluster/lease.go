package cluster

import (
	"context"
	"net/http"
	"sync"
	"time"

	"eucad/roles/peer"
	"eucad/roles/plan"
)

// Codes of refusals.
const (
	isFenced  = "Fenced"    // the node gets no lease
	stillHere = "StillHere" // the node has asked for its lease just now
	isOlder   = "Older"     // a newer Fence is known
	noVolumes = "NoVolumes"
)

// Volumes is the server of the volumes of a zone's network pool. What it is
// told lasts: a restart of the head must not give a volume back to an old holder.
type Volumes interface {
	// Fence gives the lease on a volume to holder ("": nobody). Once it
	// returns nil nobody else can read or write the volume, and who comes with
	// a lower epoch never will. The same call again changes nothing.
	Fence(ctx context.Context, volume, holder string, epoch uint64) error
}

// Leases are what a head grants to the nodes of its zone; see plan.StopAfter.
//
// They are kept in memory only. A head that has just started takes every node
// for one that got its lease that very moment, from an earlier life of the head.
type Leases struct {
	volumes Volumes
	start   time.Time

	mu    sync.Mutex
	nodes map[string]lease
}

// A lease is what the head knows of one node's.
type lease struct {
	granted time.Time // last; zero: never since the head started
	number  uint64    // of the newest Fence
	fenced  bool
}

// NewLeases returns the leases of a head that starts now. A zone without a
// volume server has nil volumes.
func NewLeases(volumes Volumes) *Leases {
	return &Leases{volumes: volumes, start: time.Now(), nodes: map[string]lease{}}
}

// wait returns how long it takes, from now on, until a node with this lease,
// which is not renewed, has surely stopped what may be started elsewhere.
func (l lease) wait(start, now time.Time) time.Duration {
	last := l.granted
	if last.IsZero() {
		last = start
	}
	return max(plan.MoveAfter-now.Sub(last), 0)
}

// here reports whether the node is there: it asked for its lease just now.
func (l lease) here(now time.Time) bool {
	return !l.granted.IsZero() && now.Sub(l.granted) < plan.LeaseTime
}

// Grant renews the lease of a node, unless that is fenced off.
func (l *Leases) Grant(node string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.nodes[node]
	if now.fenced {
		return peer.Errorf(http.StatusConflict, isFenced, "%s was lost and is fenced off: it has no lease until it has removed what was started elsewhere", node)
	}
	now.granted = time.Now()
	l.nodes[node] = now
	return nil
}

// Fence does as a front end wants, and returns how long it takes until that
// may be done: whoever wants to know asks again. A node that is there is not
// fenced off, for then its guests are in no need, whatever the front end hears.
func (l *Leases) Fence(ctx context.Context, f plan.Fence) (time.Duration, error) {
	if f.Node != "" {
		if wait, err := l.fence(f, time.Now()); wait > 0 || err != nil {
			return wait, err
		}
	}
	for _, v := range f.Volumes {
		if l.volumes == nil {
			return 0, peer.Errorf(http.StatusConflict, noVolumes, "this zone has no volume server")
		}
		if err := l.volumes.Fence(ctx, v.Volume, v.Holder, v.Epoch); err != nil {
			return 0, peer.Errorf(http.StatusServiceUnavailable, noVolumes, "volume %s: %s", v.Volume, err)
		}
	}
	return 0, nil
}

// fence notes whether the node gets leases.
func (l *Leases) fence(f plan.Fence, now time.Time) (time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.nodes[f.Node]
	if f.Number < n.number || f.Number == n.number && n.fenced == f.Lifted {
		return 0, peer.Errorf(http.StatusConflict, isOlder, "another word on %s, of number %d, came before %d did", f.Node, n.number, f.Number)
	}
	switch {
	case f.Lifted:
		n.number, n.fenced = f.Number, false
		l.nodes[f.Node] = n
		return 0, nil
	case !n.fenced && n.here(now):
		return 0, peer.Errorf(http.StatusConflict, stillHere, "the head of its zone hears %s, so its guests go on there", f.Node)
	case !n.fenced && n.granted.IsZero() && now.Sub(l.start) < plan.LeaseTime:
		return plan.LeaseTime - now.Sub(l.start), nil // it may be about to ask
	}
	n.number, n.fenced = f.Number, true
	l.nodes[f.Node] = n
	return n.wait(l.start, now), nil
}
