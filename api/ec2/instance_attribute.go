package ec2

import (
	"context"
	"encoding/base64"
	"strconv"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// describeInstanceAttribute tells one attribute of an instance. Clients
// dereference the member they asked for, so it is always there.
func (s *Server) describeInstanceAttribute(ctx context.Context, in *wire.DescribeInstanceAttributeInput) (*wire.DescribeInstanceAttributeOutput, error) {
	id := query.Val(in.InstanceId)
	if id == "" {
		return nil, missing("InstanceId")
	}
	if err := checkIDs("i", id); err != nil {
		return nil, err
	}
	out := &wire.DescribeInstanceAttributeOutput{InstanceId: &id}
	return out, s.DB.Read(ctx, func(rx store.Rx) error {
		i, err := rx.Instance(ctx, account(ctx), id)
		if err != nil {
			return err
		}
		return fillAttribute(ctx, rx, out, &i, query.Val(in.Attribute))
	})
}

func fillAttribute(ctx context.Context, rx store.Rx, out *wire.DescribeInstanceAttributeOutput, i *cloud.Instance, name string) error {
	text := func(v string) *wire.AttributeValue { return &wire.AttributeValue{Value: opt(v)} }
	truth := func(v bool) *wire.AttributeBooleanValue { return &wire.AttributeBooleanValue{Value: &v} }
	switch name {
	case "instanceType":
		out.InstanceType = text(i.Type)
	case "kernel":
		out.KernelId = text(i.KernelID)
	case "ramdisk":
		out.RamdiskId = text(i.RamdiskID)
	case "userData":
		out.UserData = text(base64.StdEncoding.EncodeToString(i.UserData))
	case "disableApiTermination":
		out.DisableApiTermination = truth(i.TerminationProtected)
	case "disableApiStop":
		out.DisableApiStop = truth(i.StopProtected)
	case "instanceInitiatedShutdownBehavior":
		out.InstanceInitiatedShutdownBehavior = text(shutdownBehavior(i))
	case "rootDeviceName":
		out.RootDeviceName = text(i.RootDevice)
	case "blockDeviceMapping":
		out.BlockDeviceMappings = wireMappings(i.Volumes)
	case "productCodes":
		out.ProductCodes = []wire.ProductCode{}
	case "ebsOptimized":
		out.EbsOptimized = truth(i.EbsOptimized)
	case "enaSupport":
		out.EnaSupport = truth(i.EnaSupport)
	case "sriovNetSupport":
		out.SriovNetSupport = text("")
	case "enclaveOptions":
		out.EnclaveOptions = &wire.EnclaveOptions{Enabled: query.Ptr(false)}
	case "sourceDestCheck", "groupSet":
		return fillNetworkAttribute(ctx, rx, out, i, name)
	case "":
		return missing("Attribute")
	default:
		return invalid("attribute", name, "An instance has no such attribute.")
	}
	return nil
}

func fillNetworkAttribute(ctx context.Context, rx store.Rx, out *wire.DescribeInstanceAttributeOutput, i *cloud.Instance, name string) error {
	n, err := primaryInterface(ctx, rx, i)
	if err != nil {
		return err
	}
	if name == "sourceDestCheck" {
		out.SourceDestCheck = &wire.AttributeBooleanValue{Value: query.Ptr(!n.NoSourceDestCheck)}
		return nil
	}
	out.Groups, err = groupNames{}.of(ctx, rx, i.AccountID, n.Groups)
	return err
}

func shutdownBehavior(i *cloud.Instance) string {
	if i.ShutdownTerminates {
		return "terminate"
	}
	return "stop"
}

func primaryInterface(ctx context.Context, rx store.Rx, i *cloud.Instance) (cloud.Interface, error) {
	enis, err := rx.InterfacesOfInstance(ctx, i.ID)
	if err != nil {
		return cloud.Interface{}, err
	}
	for _, n := range enis {
		if n.DeviceIndex == 0 {
			return n, nil
		}
	}
	return cloud.Interface{}, cloud.Faultf("IncorrectInstanceState", "The instance '%s' is %s and has no network interface.", i.ID, i.State)
}

// modifyInstanceAttribute changes one attribute, in either of the API's forms:
// a parameter of its own, or Attribute and Value.
func (s *Server) modifyInstanceAttribute(ctx context.Context, in *wire.ModifyInstanceAttributeInput) (*wire.ModifyInstanceAttributeOutput, error) {
	if err := unifyAttribute(in); err != nil {
		return nil, err
	}
	changes := s.attributeChanges(in)
	switch {
	case len(changes) == 0:
		return nil, cloud.Faultf("InvalidParameterCombination", "No attributes specified.")
	case len(changes) > 1:
		return nil, cloud.Faultf("InvalidParameterCombination", "Fields for multiple attribute types specified: change one attribute in each call.")
	}
	return nil, s.modifyInstance(ctx, query.Val(in.InstanceId), func(tx store.Tx, i *cloud.Instance) error { return changes[0](ctx, tx, i) })
}

// modifyInstance changes a row of the caller's in one transaction.
func (s *Server) modifyInstance(ctx context.Context, id string, change func(store.Tx, *cloud.Instance) error) error {
	if id == "" {
		return missing("InstanceId")
	}
	if err := checkIDs("i", id); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx store.Tx) error {
		i, err := tx.Instance(ctx, account(ctx), id)
		if err != nil {
			return err
		}
		if i.State == cloud.Terminated || i.State == cloud.ShuttingDown {
			return cloud.Faultf("IncorrectInstanceState", "The instance '%s' is %s and cannot be modified.", id, i.State)
		}
		if err := change(tx, &i); err != nil {
			return err
		}
		if err := tx.PutInstance(ctx, i); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
}

// unifyAttribute turns Attribute=x&Value=y into the parameter of x.
func unifyAttribute(in *wire.ModifyInstanceAttributeInput) error {
	name := query.Val(in.Attribute)
	if name == "" || in.Value == nil {
		return nil // with Attribute alone the parameter of its own is there, or nothing
	}
	text := &wire.AttributeValue{Value: in.Value}
	truth := func() (*wire.AttributeBooleanValue, error) {
		b, err := strconv.ParseBool(*in.Value)
		if err != nil {
			return nil, invalid("value", *in.Value, "It is true or false.")
		}
		return &wire.AttributeBooleanValue{Value: &b}, nil
	}
	var err error
	switch name {
	case "instanceType":
		in.InstanceType = text
	case "kernel":
		in.Kernel = text
	case "ramdisk":
		in.Ramdisk = text
	case "userData":
		in.UserData = &wire.SecureBlobAttributeValue{}
		in.UserData.Value, err = query.DecodeBase64(*in.Value)
		if err != nil {
			return cloud.Faultf("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
		}
	case "disableApiTermination":
		in.DisableApiTermination, err = truth()
	case "disableApiStop":
		in.DisableApiStop, err = truth()
	case "instanceInitiatedShutdownBehavior":
		in.InstanceInitiatedShutdownBehavior = text
	case "sourceDestCheck":
		in.SourceDestCheck, err = truth()
	case "ebsOptimized":
		in.EbsOptimized, err = truth()
	case "enaSupport":
		in.EnaSupport, err = truth()
	case "sriovNetSupport":
		in.SriovNetSupport = text
	default:
		return invalid("attribute", name, "It cannot be changed by attribute and value.")
	}
	return err
}
