package simtest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"eucad/hyper/sim"
	"eucad/roles/cluster"
	"eucad/roles/plan"
)

// heads are those of all zones, and their volume server, which outlives them.
type heads struct {
	volumes *sim.Volumes

	mu     sync.Mutex
	seed   uint64
	calm   bool
	leases map[string]*cluster.Leases // by zone; none while its head is down
	cut    bool                       // nothing passes between them and the front end
	before map[string][]plan.Fence    // what each was asked in this life
}

func newHeads(seed uint64) *heads {
	return &heads{volumes: sim.NewVolumes(), seed: seed, leases: map[string]*cluster.Leases{}, before: map[string][]plan.Fence{}}
}

func (h *heads) of(zone string) *cluster.Leases {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leases[zone]
}

// start starts the head of a zone anew: it has forgotten what it granted.
func (h *heads) start(zone string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leases[zone] = cluster.NewLeases(h.volumes)
	h.before[zone] = nil
}

func (h *heads) stop(zone string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.leases, zone)
}

// Fence asks the head of a zone; see control.Fencer. The call or the answer may
// get lost, and older calls may come again after it.
func (h *heads) Fence(ctx context.Context, zone string, f plan.Fence) (time.Duration, error) {
	h.mu.Lock()
	// By the time and not by how many calls came before, so that it replays.
	r := rand.New(rand.NewPCG(h.seed, uint64(time.Now().UnixNano())^f.Number))
	chance := func(n int) bool { return r.IntN(n) == 0 && !h.calm }
	l, again := h.leases[zone], []plan.Fence(nil)
	lost := l == nil || h.cut || chance(8)
	unanswered := chance(8)
	if !lost {
		if old := h.before[zone]; len(old) > 0 && chance(3) {
			again = append(again, old[r.IntN(len(old))])
		}
		h.before[zone] = append(h.before[zone], f)
	}
	h.mu.Unlock()
	if lost {
		return 0, plan.ErrNoHead
	}
	wait, err := l.Fence(ctx, f)
	for _, old := range again {
		l.Fence(ctx, old)
	}
	if unanswered {
		return 0, plan.ErrNoHead
	}
	return wait, err
}
