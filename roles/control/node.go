package control

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"eucad/store"
	"eucad/store/cloud"
)

// seenStep is how old the time at which a node was heard of may get in the
// store: a thousand nodes that are heard of must not keep it busy.
const seenStep = time.Minute

// Heard notes that the node name is heard of or, when heard is false, has not
// been for too long: then nothing is placed on it until it is heard of again.
func (c *Control) Heard(ctx context.Context, name string, heard bool) error {
	defer c.rescues.Wake()
	return c.db.Write(ctx, func(tx store.Tx) error {
		n, ok, err := tx.Node(ctx, name)
		switch {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("there is no node %s", name)
		case n.Lost == !heard && (!heard || !old(n.Seen, tx.Now())):
			return nil
		}
		switch {
		case n.Lost && heard:
			slog.Info("node is heard of again", "node", name)
		case !heard:
			slog.Error("node is not heard of any more", "node", name)
		}
		if n.Lost = !heard; heard {
			n.Seen = tx.Now()
		}
		if err := tx.PutNode(ctx, n); err != nil {
			return err
		}
		return impair(ctx, tx, name, !heard)
	})
}

// old reports whether the time at which a node was heard of is to be stored
// anew. One that is yet to come was stored before the clock was set back.
func old(seen, now time.Time) bool {
	age := now.Sub(seen)
	return age < 0 || age >= seenStep
}

// impair notes in the instances of a node whether their status checks fail.
func impair(ctx context.Context, tx store.Tx, node string, impaired bool) error {
	all, err := tx.InstancesOnNode(ctx, node)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Impaired == impaired || i.State != cloud.Running {
			continue
		}
		i.Impaired, i.StatusSince = impaired, tx.Now()
		if err := tx.PutInstance(ctx, i); err != nil {
			return err
		}
	}
	return nil
}
