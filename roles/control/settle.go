package control

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// settleAll steps the instances that statuses are of.
func (c *Control) settleAll(ctx context.Context, statuses []plan.Status, reported bool) error {
	for part := range slices.Chunk(statuses, batchMax) {
		var noted []string
		err := c.db.Write(ctx, func(tx store.Tx) error {
			for _, s := range part {
				some, err := c.settle(ctx, tx, s, reported)
				if err != nil {
					return err
				}
				if some {
					noted = append(noted, s.ID)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		c.noted(noted)
	}
	return nil
}

// settle steps one instance and, when it comes to an end, lets go of what it
// held, all in one transaction. It reports whether it wrote to its history.
func (c *Control) settle(ctx context.Context, tx store.Tx, s plan.Status, reported bool) (noted bool, err error) {
	i, ok, err := tx.FindInstance(ctx, s.ID)
	if err != nil || !ok {
		return false, err
	}
	var seen *plan.Status
	if reported {
		seen = &s
	}
	next := stepInstance(i, seen, c.waited.of(i), tx.Now())
	if events := c.events(i, next, seen, tx.Now()); len(events) > 0 {
		noted, err = true, tx.Note(ctx, i.ID, events...)
		if err != nil {
			return true, err
		}
	}
	if next.State == i.State && next.Cut == i.Cut {
		return noted, nil
	}
	if next.State != i.State {
		slog.Info("instance moved", "instance", i.ID, "node", i.Node, "from", i.State, "to", next.State)
	}
	switch next.State {
	case cloud.Stopped:
		next.Cut = false
		err = giveBackAddresses(ctx, tx, next)
	case cloud.Terminated:
		err = letGo(ctx, tx, &next)
	}
	return noted, errors.Join(err, tx.PutInstance(ctx, next))
}

// giveBackAddresses returns the public addresses that the instance got from
// the pool by itself. Elastic ones stay associated.
func giveBackAddresses(ctx context.Context, tx store.Tx, i cloud.Instance) error {
	for _, id := range i.Interfaces {
		as, err := tx.AddressesOfInterface(ctx, id)
		if err != nil {
			return err
		}
		for _, a := range as {
			if a.Auto {
				if err := tx.DeleteAddress(ctx, a); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// letGo frees what a terminated instance held: addresses, interfaces and
// volumes. What is not to be deleted with it becomes available.
func letGo(ctx context.Context, tx store.Tx, i *cloud.Instance) error {
	if err := giveBackAddresses(ctx, tx, *i); err != nil {
		return err
	}
	enis, err := tx.InterfacesOfInstance(ctx, i.ID)
	if err != nil {
		return err
	}
	for _, n := range enis {
		if err := letGoInterface(ctx, tx, n); err != nil {
			return err
		}
	}
	vols, err := tx.VolumesOfInstance(ctx, i.ID)
	if err != nil {
		return err
	}
	for _, v := range vols {
		if v.DeleteOnTermination {
			err = tx.DeleteVolume(ctx, v)
		} else {
			v.State, v.InstanceID, v.Device, v.Holder = cloud.VolumeAvailable, "", "", ""
			err = tx.PutVolume(ctx, v)
		}
		if err != nil {
			return err
		}
	}
	i.Interfaces, i.Volumes, i.UserData = nil, nil, nil
	return nil
}

func letGoInterface(ctx context.Context, tx store.Tx, n cloud.Interface) error {
	as, err := tx.AddressesOfInterface(ctx, n.ID)
	if err != nil {
		return err
	}
	n.InstanceID, n.AttachmentID = "", ""
	for _, a := range as { // elastic ones: their owner keeps them
		a.InstanceID = ""
		if n.DeleteOnTermination {
			a.AssociationID, a.InterfaceID = "", ""
		}
		if err := tx.PutAddress(ctx, a); err != nil {
			return err
		}
	}
	if n.DeleteOnTermination {
		return tx.DeleteInterface(ctx, n)
	}
	return tx.PutInterface(ctx, n)
}
