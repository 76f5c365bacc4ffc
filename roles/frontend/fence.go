package frontend

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"eucad/roles/control"
	"eucad/roles/peer"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// A fencer asks the heads of zones: that in this process, or others.
type fencer struct{ f *FrontEnd }

var _ control.Fencer = fencer{}

// Fence has the head of a zone do in; see control.Fencer.
func (e fencer) Fence(ctx context.Context, zone string, in plan.Fence) (time.Duration, error) {
	o := &e.f.opt
	if o.Head != nil && slices.Contains(o.Zones, zone) {
		return o.Head.Fence(ctx, in)
	}
	if e.f.peers == nil {
		return 0, plan.ErrNoHead
	}
	var k cloud.Cluster
	var ok bool
	err := e.f.db.Read(ctx, func(rx store.Rx) (err error) {
		k, ok, err = rx.Cluster(ctx, zone)
		return err
	})
	switch {
	case err != nil:
		return 0, err
	case !ok || k.Head == "":
		return 0, fmt.Errorf("zone %s has no head", zone)
	}
	c, err := e.f.peers.client(k.Net.Addr, peer.Identity{Role: peer.Cluster, Name: k.Head, Zone: k.Zone})
	if err != nil {
		return 0, err
	}
	var out plan.Fenced
	if err := c.Call(ctx, "POST", plan.FencePath, in, &out); err != nil {
		if peer.ErrorCode(err) != "" {
			return 0, err
		}
		slog.Debug("the head of a zone does not answer", "node", k.Head, "err", err)
		return 0, plan.ErrNoHead // the same words each time, for histories
	}
	return out.Wait(), nil
}
