package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// A Fencer is what holds volumes of cloud.PoolNetwork.
type Fencer interface {
	// Fence gives the lease on a volume to holder ("": nobody). Once it
	// returns nil nobody else can read or write the volume, and who comes with
	// a lower epoch never will. The same call again changes nothing.
	Fence(ctx context.Context, volume, holder string, epoch uint64) error
}

const (
	rescueEvery = 5 * time.Second // between passes over lost nodes
	fenceTime   = 5 * time.Second // that a volume server has to answer
)

// A fate is what becomes of an instance whose node is not heard of.
type fate int

const (
	stays  fate = iota // as it is: its node may be back soon
	waits              // for its node, however long
	moves              // it starts on another node
	leaves             // it ends or stops without its node
)

// fateOf returns what becomes of an instance with these volumes whose node was
// not heard of for so long, and why it waits. It is a pure function, so one
// table tests it all.
func fateOf(i cloud.Instance, vols []cloud.Volume, silence time.Duration) (f fate, why string) {
	switch {
	case silence < plan.LeaseTime, i.State == cloud.Stopped, i.State == cloud.Terminated:
		return stays, ""
	case !cloud.OnNetwork(vols):
		return waits, fmt.Sprintf("for its node %s, which is not heard of and has its disks", i.Node)
	case i.NoAutoRecovery && (i.State == cloud.Running || i.State == cloud.Pending):
		return waits, fmt.Sprintf("for its node %s, which is not heard of: its auto-recovery is disabled", i.Node)
	case silence < plan.MoveAfter:
		return stays, ""
	case i.State == cloud.Stopping || i.State == cloud.ShuttingDown:
		return leaves, ""
	}
	return moves, ""
}

// rescue takes instances from nodes that are lost, and has those nodes fenced
// off. All that it has begun is in the store, so that a restart goes on.
func (c *Control) rescue(ctx context.Context) error {
	return errors.Join(c.leaveLost(ctx), c.fence(ctx))
}

// leaveLost decides on the instances of nodes that are lost.
func (c *Control) leaveLost(ctx context.Context) error {
	var due []cloud.Instance
	told := map[string]string{}
	err := c.db.Read(ctx, func(rx store.Rx) error {
		nodes, err := rx.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if !n.Lost {
				continue
			}
			all, err := rx.InstancesOnNode(ctx, n.Name)
			if err != nil {
				return err
			}
			for _, i := range all {
				vols, err := rx.VolumesOfInstance(ctx, i.ID)
				if err != nil {
					return err
				}
				f, why := fateOf(i, vols, c.silence(n.Name))
				if f == waits {
					told[i.ID] = why
				}
				if f != stays && (f != waits || c.told[i.ID] != why) {
					due = append(due, i)
				}
			}
		}
		return nil
	})
	c.told = told
	errs := []error{err}
	for _, i := range due {
		err := c.db.Write(ctx, func(tx store.Tx) error { return c.leave(ctx, tx, i.ID, i.Node) })
		if err != nil {
			errs = append(errs, fmt.Errorf("rescue %s from %s: %w", i.ID, i.Node, err))
		}
	}
	return errors.Join(errs...)
}

// leave takes one instance from the lost node, if that is its fate.
func (c *Control) leave(ctx context.Context, tx store.Tx, id, node string) error {
	i, ok, err := tx.FindInstance(ctx, id)
	if err != nil || !ok || i.Node != node {
		return err
	}
	vols, err := tx.VolumesOfInstance(ctx, id)
	if err != nil {
		return err
	}
	switch f, why := fateOf(i, vols, c.silence(node)); f {
	case waits:
		return tx.Note(ctx, id, waiting(i, why))
	case leaves:
		if err := tx.MoveInstance(ctx, &i, ""); err != nil {
			return err
		}
		slog.Info("instance leaves its lost node", "instance", id, "node", node)
		return tx.PutInstance(ctx, i)
	case moves:
		return c.move(ctx, tx, i)
	}
	return nil
}

// move places the instance anew. When there is no room it stays where it is,
// and is tried again with the next pass.
func (c *Control) move(ctx context.Context, tx store.Tx, i cloud.Instance) error {
	from := i.Node
	fleet, err := tx.Fleet(ctx)
	if err != nil {
		return err
	}
	strays, err := tx.StraysOfInstance(ctx, i.ID)
	if err != nil {
		return err
	}
	strays = append(strays, cloud.Stray{InstanceID: i.ID, Node: from})
	need := cloud.Need{Type: i.Type, Zone: i.Zone, Arch: i.Arch, Hypervisor: i.Hypervisor, CPUs: i.CPUs, MemoryMiB: i.MemoryMiB}
	choice, err := fleet.Without(strays).Place(c.policy, need)
	var full *cloud.Fault
	if errors.As(err, &full) {
		return tx.Note(ctx, i.ID, waiting(i, fmt.Sprintf("to start elsewhere, for its node %s is lost: %s", from, full.Msg)))
	}
	if err != nil {
		return err
	}
	choice.Explain()
	if err := tx.MoveInstance(ctx, &i, choice.Node); err != nil {
		return err
	}
	i.Boot++
	i.Impaired, i.Launched = false, tx.Now()
	if i.State == cloud.Running {
		if err := i.Move(cloud.Pending, tx.Now()); err != nil {
			return err
		}
	}
	i.Since = tx.Now() // the start has its whole time
	slog.Info("instance is started elsewhere, for its node is lost", "instance", i.ID, "node", choice.Node, "from", from)
	err = tx.Note(ctx, i.ID,
		cloud.Event{Kind: cloud.EventAccepted, At: tx.Now(), Boot: i.Boot, Text: fmt.Sprintf("because its node %s was not heard of for %s", from, plan.MoveAfter)},
		cloud.Event{Kind: cloud.EventPlaced, At: tx.Now(), Boot: i.Boot, Choice: &choice})
	return errors.Join(err, tx.PutInstance(ctx, i))
}

// waiting is the line of an instance's history that tells what it waits for.
func waiting(i cloud.Instance, why string) cloud.Event {
	return cloud.Event{Kind: cloud.EventWaiting, At: time.Now().UTC(), Boot: i.Boot, Text: why}
}

// fence has the nodes that instances left refused by the server of their
// volumes. Only then are the instances' new nodes told of them.
func (c *Control) fence(ctx context.Context) error {
	vols := map[string][]cloud.Volume{} // by instance
	var all []cloud.Instance
	err := c.db.Read(ctx, func(rx store.Rx) error {
		moving, err := rx.InstancesMoving(ctx)
		if err != nil {
			return err
		}
		for _, i := range moving {
			if !i.Fencing {
				continue
			}
			if vols[i.ID], err = rx.VolumesOfInstance(ctx, i.ID); err != nil {
				return err
			}
			all = append(all, i)
		}
		return nil
	})
	errs := []error{err}
	for _, i := range all {
		if err := c.fenceAll(ctx, vols[i.ID]); err != nil {
			why := waiting(i, fmt.Sprintf("until the server of its volumes refuses the node that it left: %s", err))
			errs = append(errs, fmt.Errorf("fence %s: %w", i.ID, err),
				c.db.Write(ctx, func(tx store.Tx) error { return tx.Note(ctx, i.ID, why) }))
			continue
		}
		err := c.db.Write(ctx, func(tx store.Tx) error {
			now, ok, err := tx.FindInstance(ctx, i.ID)
			if err != nil || !ok || now.Node != i.Node || now.Boot != i.Boot {
				return err // it has left that node too
			}
			now.Fencing = false
			return tx.PutInstance(ctx, now)
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *Control) fenceAll(ctx context.Context, vols []cloud.Volume) error {
	if c.fencer == nil {
		return errors.New("this site has no volume server")
	}
	for _, v := range vols {
		ctx, cancel := context.WithTimeout(ctx, fenceTime)
		err := c.fencer.Fence(ctx, v.ID, v.Holder, v.Epoch)
		cancel()
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.ID, err)
		}
	}
	return nil
}
