package simtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	netsim "eucad/net/sim"
	"eucad/roles/plan"
	"eucad/store"
)

// headFails breaks something about a head, or mends it.
func (w *world) headFails(zone string) {
	switch n := w.rand.IntN(6); {
	case n == 0:
		w.heads.mu.Lock()
		w.heads.cut = !w.heads.cut
		w.logf("heads cut off from the front end: %v", w.heads.cut)
		w.heads.mu.Unlock()
	case n == 1:
		err := []error{nil, errors.New("simulated failure of the volume server")}[w.rand.IntN(2)]
		w.heads.volumes.SetDown(err)
		w.logf("volume server down: %v", err)
	case n == 2 && w.heads.of(zone) != nil:
		w.heads.stop(zone)
		w.logf("head of %s is down", zone)
	default:
		w.heads.start(zone)
		w.logf("head of %s starts", zone)
	}
}

// guestEnds has a guest power itself off, or die.
func (w *world) guestEnds(h *host) {
	all, err := h.driver.List(context.Background())
	if err != nil || len(all) == 0 {
		return
	}
	id := all[w.rand.IntN(len(all))].ID
	how := h.driver.ShutDown
	if w.rand.IntN(3) == 0 {
		how = h.driver.Crash
	}
	w.logf("guest %s ends by itself: %v", id, how(id))
}

// crashAgent ends the process of a host or, when all is set, the host itself.
func (w *world) crashAgent(h *host, all bool) {
	if h.agent == nil {
		return
	}
	w.logf("%s crashes, the host too: %v", h.row.Name, all)
	h.kill()
	h.hangUp()
	if all {
		if err := h.driver.RebootHost(); err != nil {
			w.t.Fatal(err)
		}
		h.net = netsim.New()
		h.net.SetFault(h.fault)
	}
	if w.rand.IntN(2) == 0 {
		h.boot()
	}
}

// restartFrontEnd ends the front end and makes it anew on its store.
func (w *world) restartFrontEnd() {
	w.logf("front end restarts")
	w.front.end()
	for _, h := range w.hosts {
		h.session, h.left, h.stale = nil, nil, nil
	}
	w.late = nil // calls of the old process are over
	w.openFrontEnd()
}

// A wallClock may be set. It never says the same twice, as real ones hardly do,
// though time stands still in a simulation while anybody works.
type wallClock struct{ ahead, reads atomic.Int64 }

func (c *wallClock) now() time.Time {
	return time.Now().Add(time.Duration(c.ahead.Load() + c.reads.Add(1)))
}

// setClock sets the clock of the host or of the front end, ahead or back.
func (w *world) setClock(h *host) {
	c, who := &h.clock, h.row.Name
	if w.rand.IntN(2) == 0 {
		c, who = &w.clock, "the front end"
	}
	ahead := w.upTo(24*time.Hour) - 12*time.Hour
	w.logf("clock of %s is %v ahead", who, ahead)
	c.ahead.Store(int64(ahead))
}

// networkFails breaks the network of a host, some of it or all, or mends it.
func (w *world) networkFails(h *host) {
	broken := errors.New("simulated failure of the network")
	odd := w.rand.IntN(2)
	switch what := w.rand.IntN(6); what {
	case 0:
		h.fault = func(string, string) error { return broken }
	case 1: // one VPC of two
		h.fault = func(op, id string) error {
			if op == "apply" && int(id[len(id)-1])%2 == odd {
				return broken
			}
			return nil
		}
	case 2, 3:
		fails := []string{"open", "plug"}[odd]
		h.fault = func(op, _ string) error {
			if op == fails {
				return broken
			}
			return nil
		}
	default:
		h.fault = nil
	}
	w.logf("network of %s fails: %v", h.row.Name, h.fault != nil)
	h.net.SetFault(h.fault)
}

// diskFails makes the host unable to keep its plan, or mends that.
func (w *world) diskFails(h *host) {
	from, to := filepath.Dir(h.keep), filepath.Dir(h.keep)+".away"
	if h.full {
		from, to = to, from
	}
	h.full = !h.full
	w.logf("%s can keep its plan: %v", h.row.Name, !h.full)
	if err := os.Rename(from, to); err != nil {
		w.t.Fatal(err)
	}
}

// cordon takes a node out of service, or into it again.
func (w *world) cordon(h *host) {
	w.front.write(func(tx store.Tx) error {
		n, ok, err := tx.Node(context.Background(), h.row.Name)
		if err != nil || !ok {
			return err
		}
		n.Cordoned = !n.Cordoned
		w.logf("%s cordoned: %v", n.Name, n.Cordoned)
		return tx.PutNode(context.Background(), n)
	})
}

// cordoned returns the nodes that take no more instances.
func (w *world) cordoned() map[string]bool {
	out := map[string]bool{}
	for _, n := range w.table().nodes {
		out[n.Name] = n.Cordoned
	}
	return out
}

// removeNode lets a node out of the cloud, if it is no head and has nothing.
func (w *world) removeNode(h *host) {
	if h.removed || h.head {
		return
	}
	ctx := context.Background()
	w.front.write(func(tx store.Tx) error {
		all, err := tx.InstancesOnNode(ctx, h.row.Name)
		if err != nil || len(all) > 0 {
			return err
		}
		strays, err := tx.StraysOnNode(ctx, h.row.Name)
		if err != nil || len(strays) > 0 {
			return err
		}
		h.removed = true
		return tx.DeleteNode(ctx, h.row.Name)
	})
	if h.removed {
		w.logf("%s is removed", h.row.Name)
		w.crashAgent(h, true)
	}
}

// moveHead has another host be the head of its zone, or meets the world
// otherwise: the network of all its hosts changes.
func (w *world) moveHead(h *host) {
	if h.removed {
		return
	}
	ctx := context.Background()
	w.front.write(func(tx store.Tx) error {
		k, _, err := tx.Cluster(ctx, h.row.Zone)
		if err != nil {
			return err
		}
		k.Head, k.Net, k.Regime = h.row.Name, h.row.Net, string([]plan.Regime{plan.Edge, plan.Head}[w.rand.IntN(2)])
		return tx.PutCluster(ctx, k)
	})
	for _, o := range w.hosts {
		if o.row.Zone == h.row.Zone {
			o.head = o == h
		}
	}
	w.logf("%s is the head of %s", h.row.Name, h.row.Zone)
}

// addNode takes a node that was removed into the cloud again, as a new one.
func (w *world) addNode(h *host) {
	if !h.removed {
		return
	}
	w.logf("%s is added", h.row.Name)
	h.removed = false
	if err := os.Remove(h.keep); err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	w.front.write(func(tx store.Tx) error { // as roles/frontend does
		row := h.row
		if err := tx.TurnFence(context.Background(), &row, false); err != nil {
			return err
		}
		return tx.PutNode(context.Background(), row)
	})
	h.boot()
}

// mend makes all of a host work.
func (h *host) mend() {
	h.cut.Store(false)
	h.alone.Store(false)
	h.driver.FailStarts(0, nil)
	h.driver.SetDelays(time.Second, time.Second)
	h.fault = nil
	h.net.SetFault(nil)
	if h.full {
		h.w.diskFails(h)
	}
	if h.agent == nil {
		h.boot()
	}
}
