package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// A Fencer is the heads of the zones, which hold the volumes of
// cloud.PoolNetwork and grant the leases of nodes.
type Fencer interface {
	// Fence has the head of a zone do f, and returns how long it takes until
	// that may be done; 0: it is done. The same call again changes nothing. An
	// error is plan.ErrNoHead when the head can't be asked.
	Fence(ctx context.Context, zone string, f plan.Fence) (wait time.Duration, err error)
}

const (
	rescueEvery = 5 * time.Second // between passes over lost nodes
	fenceTime   = 5 * time.Second // that a head has to answer
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
// not heard of for so long, once that is fenced off, and why it waits. It is a
// pure function, so one table tests it all.
func fateOf(i cloud.Instance, vols []cloud.Volume, silence time.Duration) (f fate, why string) {
	switch {
	case silence < plan.LeaseTime, i.State == cloud.Stopped, i.State == cloud.Terminated:
		return stays, ""
	case !cloud.OnNetwork(vols):
		return waits, fmt.Sprintf("for its node %s, which is not heard of and has its disks", i.Node)
	case i.NoAutoRecovery && (i.State == cloud.Running || i.State == cloud.Pending):
		return waits, fmt.Sprintf("for its node %s, which is not heard of: its auto-recovery is disabled", i.Node)
	case silence < plan.StopAfter:
		return stays, ""
	case i.State == cloud.Stopping || i.State == cloud.ShuttingDown:
		return leaves, ""
	}
	return moves, ""
}

// rescue takes instances from nodes that are lost and fenced off, and lets
// nodes that are back have their lease again. All that it has begun is in the
// store, so that a restart goes on.
func (c *Control) rescue(ctx context.Context) error {
	c.heads = map[string]error{}
	return errors.Join(c.leaveLost(ctx), c.fence(ctx), c.lift(ctx))
}

// ask has the head of a zone do f. A head that did not answer in this pass is
// not asked again: there may be many nodes behind it.
func (c *Control) ask(ctx context.Context, zone string, f plan.Fence) (wait time.Duration, err error) {
	if c.fencer == nil {
		return 0, plan.ErrNoHead
	}
	if err := c.heads[zone]; err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTime)
	defer cancel()
	wait, err = c.fencer.Fence(ctx, zone, f)
	if errors.Is(err, plan.ErrNoHead) {
		c.heads[zone] = err
	}
	return wait, err
}

// A lost is a node that is not heard of, and what becomes of its instances.
type lost struct {
	node  cloud.Node
	all   []cloud.Instance
	fates []fate
	why   []string
}

// lost returns the nodes that are not heard of.
func (c *Control) lost(ctx context.Context) (out []lost, err error) {
	err = c.db.Read(ctx, func(rx store.Rx) error {
		nodes, err := rx.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if !n.Lost {
				continue
			}
			l := lost{node: n}
			if l.all, err = rx.InstancesOnNode(ctx, n.Name); err != nil {
				return err
			}
			for _, i := range l.all {
				vols, err := rx.VolumesOfInstance(ctx, i.ID)
				if err != nil {
					return err
				}
				f, why := fateOf(i, vols, c.silence(n.Name))
				l.fates, l.why = append(l.fates, f), append(l.why, why)
			}
			out = append(out, l)
		}
		return nil
	})
	return out, err
}

// leaveLost decides on the instances of nodes that are lost. Nothing leaves a
// node that is not fenced off.
func (c *Control) leaveLost(ctx context.Context) error {
	all, err := c.lost(ctx)
	errs := []error{err}
	told := map[string]string{}
	for _, l := range all {
		var off bool
		var not string
		if slices.Contains(l.fates, moves) || slices.Contains(l.fates, leaves) {
			if off, not, err = c.fenceOff(ctx, &l.node); err != nil {
				errs = append(errs, fmt.Errorf("fence %s off: %w", l.node.Name, err))
				continue
			}
		}
		for k, i := range l.all {
			why := l.why[k]
			if f := l.fates[k]; f == moves || f == leaves {
				if off {
					if err := c.db.Write(ctx, func(tx store.Tx) error { return c.leave(ctx, tx, i.ID, l.node) }); err != nil {
						errs = append(errs, fmt.Errorf("rescue %s from %s: %w", i.ID, i.Node, err))
					}
					continue
				}
				why = not
			}
			if why == "" {
				continue
			}
			if told[i.ID] = why; c.told[i.ID] != why {
				errs = append(errs, c.db.Write(ctx, func(tx store.Tx) error { return tx.Note(ctx, i.ID, waiting(i, why, tx.Now())) }))
			}
		}
	}
	c.told = told
	return errors.Join(errs...)
}

// fenceOff has the lost node n fenced off by the head of its zone, and reports
// whether it is, or else why not ("": in a while).
func (c *Control) fenceOff(ctx context.Context, n *cloud.Node) (off bool, why string, err error) {
	if !n.Fence.On {
		err := c.db.Write(ctx, func(tx store.Tx) error {
			now, ok, err := tx.Node(ctx, n.Name)
			if err != nil || !ok || !now.Lost || now.Fence.On {
				return err
			}
			if err := tx.TurnFence(ctx, &now, true); err != nil {
				return err
			}
			*n = now
			return tx.PutNode(ctx, now)
		})
		if err != nil || !n.Fence.On {
			return false, "", err
		}
	}
	wait, err := c.ask(ctx, n.Zone, fenceOf(*n))
	if err != nil {
		return false, fmt.Sprintf("for its node %s, which is not heard of. It is not started elsewhere: %s", n.Name, err), nil
	}
	return wait == 0, "", nil
}

// fenceOf returns what the head of its zone is to know of the node.
func fenceOf(n cloud.Node) plan.Fence {
	return plan.Fence{Node: n.Name, Number: n.Fence.Number, Lifted: !n.Fence.On}
}

// leave takes one instance from the lost node n, which is fenced off, if that
// is its fate.
func (c *Control) leave(ctx context.Context, tx store.Tx, id string, n cloud.Node) error {
	now, ok, err := tx.Node(ctx, n.Name)
	if err != nil || !ok || !now.Lost || now.Fence != n.Fence {
		return err
	}
	i, ok, err := tx.FindInstance(ctx, id)
	if err != nil || !ok || i.Node != n.Name {
		return err
	}
	vols, err := tx.VolumesOfInstance(ctx, id)
	if err != nil {
		return err
	}
	switch f, _ := fateOf(i, vols, c.silence(n.Name)); f {
	case leaves:
		if err := tx.MoveInstance(ctx, &i, ""); err != nil {
			return err
		}
		slog.Info("instance leaves its lost node", "instance", id, "node", n.Name)
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
		return tx.Note(ctx, i.ID, waiting(i, fmt.Sprintf("to start elsewhere, for its node %s is lost: %s", from, full.Msg), tx.Now()))
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
	i.Since = tx.Now() // a new wait: the start has its whole time
	slog.Info("instance is started elsewhere, for its node is lost", "instance", i.ID, "node", choice.Node, "from", from)
	err = tx.Note(ctx, i.ID,
		cloud.Event{Kind: cloud.EventAccepted, At: tx.Now(), Boot: i.Boot, Text: fmt.Sprintf("because its node %s was not heard of, and is fenced off", from)},
		cloud.Event{Kind: cloud.EventPlaced, At: tx.Now(), Boot: i.Boot, Choice: &choice})
	return errors.Join(err, tx.PutInstance(ctx, i))
}

// waiting is the line of an instance's history that tells what it waits for.
func waiting(i cloud.Instance, why string, now time.Time) cloud.Event {
	return cloud.Event{Kind: cloud.EventWaiting, At: now, Boot: i.Boot, Text: why}
}

// fence has the heads of zones give the volumes of instances that left a node
// to the next one. Only then is that told of them.
func (c *Control) fence(ctx context.Context) error {
	type leaving struct {
		i    cloud.Instance
		asks []plan.Fence
	}
	var all []leaving
	err := c.db.Read(ctx, func(rx store.Rx) error {
		moving, err := rx.InstancesMoving(ctx)
		if err != nil {
			return err
		}
		for _, i := range moving {
			if !i.Fencing {
				continue
			}
			asks, err := fencesOf(ctx, rx, i)
			if err != nil {
				return err
			}
			all = append(all, leaving{i, asks})
		}
		return nil
	})
	errs := []error{err}
	for _, l := range all {
		i := l.i
		if err := c.askAll(ctx, i.Zone, l.asks); err != nil {
			why := fmt.Sprintf("until the node that it left is refused at its volumes: %s", err)
			errs = append(errs, fmt.Errorf("fence %s: %w", i.ID, err),
				c.db.Write(ctx, func(tx store.Tx) error { return tx.Note(ctx, i.ID, waiting(i, why, tx.Now())) }))
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

// fencesOf returns what the head is asked for an instance that left a node.
// That it has fenced the node off is asked again, for it may have been
// restarted since, and have granted the node a lease.
func fencesOf(ctx context.Context, rx store.Rx, i cloud.Instance) (asks []plan.Fence, err error) {
	vols, err := rx.VolumesOfInstance(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	var leases []plan.VolumeLease
	for _, v := range vols {
		leases = append(leases, plan.VolumeLease{Volume: v.ID, Holder: v.Holder, Epoch: v.Epoch})
	}
	strays, err := rx.StraysOfInstance(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	for _, s := range strays {
		n, ok, err := rx.Node(ctx, s.Node)
		if err != nil {
			return nil, err
		}
		if ok && n.Fence.On {
			f := fenceOf(n)
			f.Volumes = leases
			asks = append(asks, f)
		}
	}
	if len(asks) == 0 { // it was stopped there, or nothing is left of it
		asks = append(asks, plan.Fence{Volumes: leases})
	}
	return asks, nil
}

var errNotYet = errors.New("its head has been started anew, and waits until the lease has surely run out")

func (c *Control) askAll(ctx context.Context, zone string, asks []plan.Fence) error {
	for _, f := range asks {
		wait, err := c.ask(ctx, zone, f)
		if err != nil {
			return err
		}
		if wait > 0 {
			return errNotYet
		}
	}
	return nil
}

// lift lets nodes that are back have their lease again, once they have removed
// their copies of what was started elsewhere.
func (c *Control) lift(ctx context.Context) error {
	var back, untold []cloud.Node
	err := c.db.Read(ctx, func(rx store.Rx) error {
		nodes, err := rx.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			switch {
			case n.Fence.Lift:
				untold = append(untold, n)
			case n.Fence.On && !n.Lost:
				back = append(back, n)
			}
		}
		return nil
	})
	errs := []error{err}
	for _, n := range back {
		err := c.db.Write(ctx, func(tx store.Tx) error {
			now, ok, err := tx.Node(ctx, n.Name)
			if err != nil || !ok || now.Lost || now.Fence != n.Fence {
				return err
			}
			left, err := tx.StraysOnNode(ctx, n.Name)
			if err != nil || len(left) > 0 {
				return err
			}
			if err := tx.TurnFence(ctx, &now, false); err != nil {
				return err
			}
			untold = append(untold, now)
			return tx.PutNode(ctx, now)
		})
		errs = append(errs, err)
	}
	for _, n := range untold {
		if _, err := c.ask(ctx, n.Zone, fenceOf(n)); err != nil {
			slog.Debug("a node that is back gets no lease yet", "node", n.Name, "err", err)
			continue
		}
		errs = append(errs, c.db.Write(ctx, func(tx store.Tx) error {
			now, ok, err := tx.Node(ctx, n.Name)
			if err != nil || !ok || now.Fence != n.Fence {
				return err
			}
			now.Fence.Lift = false
			return tx.PutNode(ctx, now)
		}))
	}
	return errors.Join(errs...)
}
