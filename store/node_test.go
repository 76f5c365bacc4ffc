package store

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"eucad/store/cloud"
)

// The numbers of fences grow, for nodes that are forgotten too, though the
// clock was set back; and from the clock on, for a store that is restored.
func TestFencesGrow(t *testing.T) {
	now := time.UnixMilli(1e12)
	db, err := Open(filepath.Join(t.TempDir(), "db"), WithClock(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	last := uint64(1e12)
	for _, back := range []time.Duration{0, 0, time.Hour} {
		now = now.Add(-back)
		n := cloud.Node{Name: "n1"} // another one each time
		err := db.Write(t.Context(), func(tx Tx) error { return tx.TurnFence(t.Context(), &n, true) })
		if err != nil || n.Fence.Number <= last || !n.Fence.On || n.Fence.Lift {
			t.Errorf("fence %+v, %v; want a number above %d", n.Fence, err, last)
		}
		last = n.Fence.Number
	}
}

// A node is not forgotten while an instance is on it, however late that came.
func TestNodeInUseStays(t *testing.T) {
	db, ctx := open(t), t.Context()
	i := cloud.Instance{ID: "i-1", AccountID: "a", State: cloud.Pending, Node: "n1", CPUs: 1}
	remove := func() error {
		return db.Write(ctx, func(tx Tx) error { return tx.DeleteNode(ctx, "n1") })
	}
	err := db.Write(ctx, func(tx Tx) error {
		return errors.Join(tx.PutNode(ctx, cloud.Node{Name: "n1"}), tx.PutInstance(ctx, i))
	})
	if err != nil {
		t.Fatal(err)
	}
	var fault *cloud.Fault
	if err := remove(); !errors.As(err, &fault) || fault.Code != "DependencyViolation" {
		t.Errorf("a node with an instance: %v", err)
	}
	i.State = cloud.Terminated
	if err := db.Write(ctx, func(tx Tx) error { return tx.PutInstance(ctx, i) }); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
}
