package ec2

import (
	"context"
	"slices"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// An attributeChange changes the row of an instance, and others with it.
type attributeChange func(context.Context, store.Tx, *cloud.Instance) error

// attributeChanges returns what a request asks to change.
func (s *Server) attributeChanges(in *wire.ModifyInstanceAttributeInput) []attributeChange {
	var out []attributeChange
	add := func(asked bool, c attributeChange) {
		if asked {
			out = append(out, c)
		}
	}
	truth := func(v *wire.AttributeBooleanValue, to func(*cloud.Instance) *bool) {
		add(v != nil && v.Value != nil, func(_ context.Context, _ store.Tx, i *cloud.Instance) error {
			*to(i) = *v.Value
			return nil
		})
	}
	truth(in.DisableApiTermination, func(i *cloud.Instance) *bool { return &i.TerminationProtected })
	truth(in.DisableApiStop, func(i *cloud.Instance) *bool { return &i.StopProtected })
	add(in.EbsOptimized != nil && in.EbsOptimized.Value != nil, stopped("ebsOptimized", func(_ context.Context, _ store.Tx, i *cloud.Instance) error {
		i.EbsOptimized = *in.EbsOptimized.Value
		return nil
	}))
	add(in.EnaSupport != nil && in.EnaSupport.Value != nil, stopped("enaSupport", func(_ context.Context, _ store.Tx, i *cloud.Instance) error {
		i.EnaSupport = *in.EnaSupport.Value
		return nil
	}))
	add(in.InstanceInitiatedShutdownBehavior != nil, func(_ context.Context, _ store.Tx, i *cloud.Instance) error {
		v := query.Val(in.InstanceInitiatedShutdownBehavior.Value)
		if v != "stop" && v != "terminate" {
			return invalid("instanceInitiatedShutdownBehavior", v, "It is stop or terminate.")
		}
		i.ShutdownTerminates = v == "terminate"
		return nil
	})
	add(in.InstanceType != nil, stopped("instanceType", s.changeType(in)))
	add(in.Kernel != nil, stopped("kernel", func(ctx context.Context, tx store.Tx, i *cloud.Instance) (err error) {
		i.KernelID = query.Val(in.Kernel.Value)
		i.KernelHash, err = bootImage(ctx, tx.Rx, i.AccountID, "kernel", i.KernelID)
		return err
	}))
	add(in.Ramdisk != nil, stopped("ramdisk", func(ctx context.Context, tx store.Tx, i *cloud.Instance) (err error) {
		i.RamdiskID = query.Val(in.Ramdisk.Value)
		i.RamdiskHash, err = bootImage(ctx, tx.Rx, i.AccountID, "ramdisk", i.RamdiskID)
		return err
	}))
	add(in.UserData != nil, stopped("userData", func(_ context.Context, _ store.Tx, i *cloud.Instance) error {
		if len(in.UserData.Value) > maxUserData {
			return cloud.Faultf("InvalidParameterValue", "User data is limited to %d bytes; yours are %d.", maxUserData, len(in.UserData.Value))
		}
		i.UserData = in.UserData.Value
		return nil
	}))
	add(len(in.BlockDeviceMappings) > 0, changeMappings(in.BlockDeviceMappings))
	add(in.SourceDestCheck != nil && in.SourceDestCheck.Value != nil, changeInterface(func(_ context.Context, _ store.Tx, n *cloud.Interface) error {
		n.NoSourceDestCheck = !*in.SourceDestCheck.Value
		return nil
	}))
	add(len(in.Groups) > 0, changeInterface(func(ctx context.Context, tx store.Tx, n *cloud.Interface) (err error) {
		if len(in.Groups) > maxGroups {
			return cloud.Faultf("SecurityGroupsPerInterfaceLimitExceeded", "An interface is in up to %d security groups.", maxGroups)
		}
		if err := checkIDs("sg", in.Groups...); err != nil {
			return err
		}
		n.Groups, err = resolveGroups(ctx, tx, n.AccountID, n.VpcID, in.Groups, nil)
		return err
	}))
	add(in.SriovNetSupport != nil, refuse("sriovNetSupport"))
	add(in.EnclaveOptions != nil && query.Val(in.EnclaveOptions.Enabled), refuse("enclaveOptions"))
	return out
}

func refuse(what string) attributeChange {
	return func(context.Context, store.Tx, *cloud.Instance) error {
		return unsupported("The attribute " + what)
	}
}

// stopped makes a change that needs a stopped instance.
func stopped(what string, c attributeChange) attributeChange {
	return func(ctx context.Context, tx store.Tx, i *cloud.Instance) error {
		if i.State != cloud.Stopped {
			return cloud.Faultf("IncorrectInstanceState", "The instance '%s' must be in the 'stopped' state to change its %s; it is %s.", i.ID, what, i.State)
		}
		return c(ctx, tx, i)
	}
}

// changeType gives a stopped instance another type; whether its node has room
// shows when it starts.
func (s *Server) changeType(in *wire.ModifyInstanceAttributeInput) attributeChange {
	return func(_ context.Context, _ store.Tx, i *cloud.Instance) (err error) {
		name := query.Val(in.InstanceType.Value)
		t, ok := s.Cfg.Types.Get(name)
		if !ok {
			return cloud.Faultf("InvalidInstanceAttributeValue", "Invalid value '%s' for InstanceType.", clip(name)) // the API reference has this code
		}
		if most := t.MaxInterfaces(); len(i.Interfaces) > most {
			return cloud.Faultf("AttachmentLimitExceeded", "The instance has %d network interfaces; a %s has up to %d.", len(i.Interfaces), name, most)
		}
		if was, _ := s.Cfg.Types.Get(i.Type); !was.Burstable || !t.Burstable {
			if i.CreditSpec, err = creditSpec(nil, t); err != nil {
				return err
			}
		}
		i.Type, i.CPUs, i.MemoryMiB = t.Name, t.CPUs, t.MemoryMiB
		return nil
	}
}

// changeInterface makes a change of the only interface. Which of several is
// meant EC2 does not guess: they are changed by ModifyNetworkInterfaceAttribute.
func changeInterface(change func(context.Context, store.Tx, *cloud.Interface) error) attributeChange {
	return func(ctx context.Context, tx store.Tx, i *cloud.Instance) error {
		n, err := onlyInterface(ctx, tx.Rx, i.AccountID, i.ID)
		if err != nil {
			return err
		}
		if err := change(ctx, tx, &n); err != nil {
			return err
		}
		return tx.PutInterface(ctx, n)
	}
}

// changeMappings sets which volumes go with their instance; one for which the
// request does not say does (EC2 docs: "ModifyInstanceAttribute").
func changeMappings(in []wire.InstanceBlockDeviceMappingSpecification) attributeChange {
	return func(ctx context.Context, tx store.Tx, i *cloud.Instance) error {
		for _, m := range in {
			device := query.Val(m.DeviceName)
			at := slices.IndexFunc(i.Volumes, func(v cloud.Mapping) bool { return sameDevice(v.Device, device) })
			switch {
			case m.NoDevice != nil || query.Val(m.VirtualName) != "":
				return unsupported("A change of BlockDeviceMapping other than DeleteOnTermination")
			case device == "":
				return missing("BlockDeviceMapping.DeviceName")
			case m.Ebs == nil:
				return missing("BlockDeviceMapping.Ebs")
			case at < 0:
				return cloud.Faultf("InvalidInstanceAttributeValue", "No device is currently mapped at %s", clip(device))
			case query.Val(m.Ebs.VolumeId) != "" && *m.Ebs.VolumeId != i.Volumes[at].VolumeID:
				return cloud.Faultf("InvalidInstanceAttributeValue", "The volume '%s' is not the one at %s of instance '%s'.", clip(*m.Ebs.VolumeId), clip(device), i.ID)
			}
			vol, err := tx.Volume(ctx, i.AccountID, i.Volumes[at].VolumeID)
			if err != nil {
				return err
			}
			vol.DeleteOnTermination = m.Ebs.DeleteOnTermination == nil || *m.Ebs.DeleteOnTermination
			i.Volumes[at].DeleteOnTermination = vol.DeleteOnTermination
			if err := tx.PutVolume(ctx, vol); err != nil {
				return err
			}
		}
		return nil
	}
}
