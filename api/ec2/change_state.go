package ec2

import (
	"context"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// changeStates changes each of the named instances in one transaction: all or
// none. change works on the row and may write others; it returns whether the
// row is different.
func (s *Server) changeStates(ctx context.Context, ids []string, change func(tx store.Tx, i *cloud.Instance) (bool, error)) ([]wire.InstanceStateChange, error) {
	if len(ids) == 0 {
		return nil, missing("InstanceId")
	}
	if len(ids) > maxLaunch {
		return nil, cloud.Faultf("InvalidParameterValue", "One call takes up to %d instances; you named %d.", maxLaunch, len(ids))
	}
	if err := checkIDs("i", ids...); err != nil {
		return nil, err
	}
	var out []wire.InstanceStateChange
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		list, err := tx.Instances(ctx, account(ctx), ids...)
		if err != nil {
			return err
		}
		out = make([]wire.InstanceStateChange, 0, len(list))
		for n := range list {
			i := &list[n]
			was := i.State
			changed, err := change(tx, i)
			if err != nil {
				return err
			}
			if changed {
				if err := tx.PutInstance(ctx, *i); err != nil {
					return err
				}
			}
			out = append(out, stateChange(i.ID, was, i.State))
		}
		return tx.Audit(ctx)
	})
	return out, err
}

// terminateInstances ends instances whatever their state. It is idempotent.
func (s *Server) terminateInstances(ctx context.Context, in *wire.TerminateInstancesInput) (*wire.TerminateInstancesOutput, error) {
	out, err := s.changeStates(ctx, in.InstanceIds, func(tx store.Tx, i *cloud.Instance) (bool, error) {
		switch {
		case i.State == cloud.Terminated || i.State == cloud.ShuttingDown:
			return false, nil
		case i.TerminationProtected:
			return false, cloud.Faultf("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", i.ID)
		}
		i.Reason = reasonUserInitiated()
		return true, i.Move(cloud.ShuttingDown, tx.Now())
	})
	return &wire.TerminateInstancesOutput{TerminatingInstances: out}, err
}

// stopInstances stops instances; their disks stay.
func (s *Server) stopInstances(ctx context.Context, in *wire.StopInstancesInput) (*wire.StopInstancesOutput, error) {
	if query.Val(in.Hibernate) {
		return nil, cloud.Faultf("UnsupportedHibernationConfiguration", "Hibernation is not supported by this cloud.")
	}
	out, err := s.changeStates(ctx, in.InstanceIds, func(tx store.Tx, i *cloud.Instance) (bool, error) {
		cut := query.Val(in.Force) || query.Val(in.SkipOsShutdown)
		switch {
		case i.State == cloud.Stopped, i.State == cloud.Stopping && (i.Cut || !cut):
			return false, nil
		case i.State == cloud.Stopping: // a second, harder push
			i.Cut = true
			return true, nil
		case i.State == cloud.ShuttingDown || i.State == cloud.Terminated:
			return false, cloud.Faultf("IncorrectInstanceState", "This instance '%s' is not in a state from which it can be stopped: %s.", i.ID, i.State)
		case i.State == cloud.Pending && i.Boot == 1:
			return false, cloud.Faultf("IncorrectInstanceState", "Instance '%s' cannot be stopped as it has never reached the 'running' state.", i.ID)
		case i.StopProtected:
			return false, cloud.Faultf("OperationNotPermitted", "The instance '%s' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.", i.ID)
		}
		i.Cut, i.Reason = cut, reasonUserInitiated()
		return true, i.Move(cloud.Stopping, tx.Now())
	})
	return &wire.StopInstancesOutput{StoppingInstances: out}, err
}

// startInstances starts stopped instances: on the node that has their disks
// or, when these are on the network, where there is room.
func (s *Server) startInstances(ctx context.Context, in *wire.StartInstancesInput) (*wire.StartInstancesOutput, error) {
	out, err := s.changeStates(ctx, in.InstanceIds, func(tx store.Tx, i *cloud.Instance) (bool, error) {
		switch {
		case i.State == cloud.Running || i.State == cloud.Pending:
			return false, nil
		case i.State != cloud.Stopped:
			return false, cloud.Faultf("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be started: %s.", i.ID, i.State)
		}
		return true, s.start(ctx, tx, i)
	})
	return &wire.StartInstancesOutput{StartingInstances: out}, err
}

// start moves a stopped instance to pending: capacity and public address are
// found anew.
func (s *Server) start(ctx context.Context, tx store.Tx, i *cloud.Instance) error {
	choice, err := s.placeAgain(ctx, tx, i)
	if err != nil {
		return err
	}
	enis, err := tx.InterfacesOfInstance(ctx, i.ID)
	if err != nil {
		return err
	}
	for n := range enis {
		if err := s.givePublic(ctx, tx, &enis[n]); err != nil {
			return err
		}
	}
	i.Boot++
	asked := cloud.Event{Kind: cloud.EventAccepted, At: tx.Now(), Boot: i.Boot}
	if err := tx.Note(ctx, i.ID, asked, placed(choice, i.Boot).why); err != nil {
		return err
	}
	i.Launched, i.Reason, i.Cut = tx.Now(), nil, false
	// Its row must hold the node before the next instance of this call is placed.
	if err := i.Move(cloud.Pending, tx.Now()); err != nil {
		return err
	}
	return tx.PutInstance(ctx, *i)
}

// placeAgain finds a place for an instance that was placed before.
func (s *Server) placeAgain(ctx context.Context, tx store.Tx, i *cloud.Instance) (cloud.Choice, error) {
	fleet, err := tx.Fleet(ctx)
	if err != nil {
		return cloud.Choice{}, err
	}
	vols, err := tx.VolumesOfInstance(ctx, i.ID)
	if err != nil {
		return cloud.Choice{}, err
	}
	need := cloud.Need{Type: i.Type, Node: i.Node, Arch: i.Arch, CPUs: i.CPUs, MemoryMiB: i.MemoryMiB} // the disk is there already
	if !cloud.OnNetwork(vols) {
		return fleet.Place(cloud.DefaultPolicy, need)
	}
	if i.Node != "" { // where it was, as long as there is room
		if choice, err := fleet.Place(s.policy(), need); err == nil {
			return choice, nil
		}
	}
	strays, err := tx.StraysOfInstance(ctx, i.ID)
	if err != nil {
		return cloud.Choice{}, err
	}
	need.Node, need.Zone, need.Hypervisor = "", i.Zone, i.Hypervisor
	choice, err := fleet.Without(strays).Place(s.policy(), need)
	if err != nil {
		return choice, err
	}
	return choice, tx.MoveInstance(ctx, i, choice.Node)
}

// givePublic allots a public address to an interface that wants one and has none.
func (s *Server) givePublic(ctx context.Context, tx store.Tx, n *cloud.Interface) error {
	if !n.WantsPublic {
		return nil
	}
	have, err := tx.AddressesOfInterface(ctx, n.ID)
	if err != nil || len(have) > 0 {
		return err
	}
	r, err := s.publicRange(ctx, tx.Rx, n.Zone)
	if err != nil {
		return err
	}
	ip, err := tx.FreePublicIP(ctx, r)
	if err != nil {
		return err
	}
	return tx.AddAddress(ctx, autoAddress(tx, n, r, ip))
}

// rebootInstances resets running instances. A terminated one is ignored (EC2
// docs: "RebootInstances"), so that a race with the end of one fails no others.
func (s *Server) rebootInstances(ctx context.Context, in *wire.RebootInstancesInput) (*wire.RebootInstancesOutput, error) {
	_, err := s.changeStates(ctx, in.InstanceIds, func(tx store.Tx, i *cloud.Instance) (bool, error) {
		switch i.State {
		case cloud.Running:
			i.Boot++
			return true, nil
		case cloud.Pending, cloud.ShuttingDown, cloud.Terminated: // it boots already, or never again
			return false, nil
		}
		return false, cloud.Faultf("IncorrectState", "Instance with id %s is %s and cannot be rebooted.", i.ID, i.State)
	})
	return nil, err
}
