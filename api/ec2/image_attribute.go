package ec2

import (
	"context"
	"slices"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// describeImageAttribute tells one attribute of an image of the caller's.
func (s *Server) describeImageAttribute(ctx context.Context, in *wire.DescribeImageAttributeInput) (out *wire.DescribeImageAttributeOutput, err error) {
	var m cloud.Image
	err = s.DB.Read(ctx, func(rx store.Rx) error {
		m, err = ownImage(ctx, rx, query.Val(in.ImageId))
		return err
	})
	if err != nil {
		return nil, err
	}
	out = &wire.DescribeImageAttributeOutput{ImageId: &m.ID}
	text := func(v string) *wire.AttributeValue { return &wire.AttributeValue{Value: opt(v)} }
	switch name := query.Val(in.Attribute); name {
	case "description":
		out.Description = text(m.Description)
	case "kernel":
		out.KernelId = text(m.KernelID)
	case "ramdisk":
		out.RamdiskId = text(m.RamdiskID)
	case "launchPermission":
		out.LaunchPermissions = launchPermissions(&m)
	case "productCodes":
		out.ProductCodes = []wire.ProductCode{}
	case "blockDeviceMapping":
		out.BlockDeviceMappings = wireImageMappings(m.Mappings)
	case "bootMode":
		out.BootMode = text(bootMode(m.UEFI))
	case "imdsSupport":
		out.ImdsSupport = text(m.ImdsSupport)
	case "deregistrationProtection":
		out.DeregistrationProtection = text("disabled")
	case "sriovNetSupport":
		out.SriovNetSupport = text("")
	case "tpmSupport":
		out.TpmSupport = text("")
	case "uefiData":
		out.UefiData = text("")
	case "":
		return nil, missing("Attribute")
	default:
		return nil, invalid("attribute", name, "An image has no such attribute here.")
	}
	return out, nil
}

func launchPermissions(m *cloud.Image) []wire.LaunchPermission {
	out := []wire.LaunchPermission{}
	if m.Public {
		out = append(out, wire.LaunchPermission{Group: query.Ptr("all")})
	}
	for _, id := range m.LaunchTo {
		out = append(out, wire.LaunchPermission{UserId: &id})
	}
	return out
}

// modifyImageAttribute changes one attribute of an image of the caller's, in
// either of the API's forms.
func (s *Server) modifyImageAttribute(ctx context.Context, in *wire.ModifyImageAttributeInput) (*wire.ModifyImageAttributeOutput, error) {
	if err := unifyImageAttribute(in); err != nil {
		return nil, err
	}
	asked := 0
	for _, given := range []bool{in.Description != nil, in.ImdsSupport != nil, in.LaunchPermission != nil} {
		if given {
			asked++
		}
	}
	switch {
	case asked == 0:
		return nil, cloud.Faultf("InvalidParameterCombination", "No attributes specified.")
	case asked > 1:
		return nil, cloud.Faultf("InvalidParameterCombination", "Fields for multiple attribute types specified: change one attribute in each call.")
	}
	return nil, s.DB.Write(ctx, func(tx store.Tx) error {
		m, err := ownImage(ctx, tx.Rx, query.Val(in.ImageId))
		if err != nil {
			return err
		}
		if in.Description != nil {
			if err := m.Describe(query.Val(in.Description.Value)); err != nil {
				return err
			}
		}
		if in.ImdsSupport != nil {
			if v := query.Val(in.ImdsSupport.Value); v != "v2.0" {
				return invalid("imdsSupport", v, "It is v2.0, and cannot be taken back.")
			}
			m.ImdsSupport = "v2.0"
		}
		if p := in.LaunchPermission; p != nil {
			for _, change := range []struct {
				list []wire.LaunchPermission
				add  bool
			}{{p.Add, true}, {p.Remove, false}} {
				for _, l := range change.list {
					if err := setLaunch(&m, l, change.add); err != nil {
						return err
					}
				}
			}
		}
		if err := tx.PutImage(ctx, m); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
}

// setLaunch gives or takes one launch permission.
func setLaunch(m *cloud.Image, p wire.LaunchPermission, add bool) error {
	const most = 1000 // accounts that one image is shared with
	group, id := query.Val(p.Group), query.Val(p.UserId)
	switch {
	case query.Val(p.OrganizationArn) != "" || query.Val(p.OrganizationalUnitArn) != "":
		return unsupported("A launch permission of an organization")
	case group == "all" && id == "":
		m.Public = add
	case group != "":
		return cloud.Faultf("InvalidUserGroup", "The group '%s' is invalid; it is 'all'.", clip(group))
	case !isAccount(id):
		return checkAccounts([]string{id})
	case add && !slices.Contains(m.LaunchTo, id):
		if len(m.LaunchTo) == most {
			return cloud.Faultf("ImageAccountLimitExceeded", "An image can be shared with up to %d accounts.", most)
		}
		m.LaunchTo = append(m.LaunchTo, id)
	case !add:
		m.LaunchTo = slices.DeleteFunc(m.LaunchTo, func(o string) bool { return o == id })
	}
	return nil
}

// unifyImageAttribute turns the older form (Attribute, OperationType, Value)
// into the newer.
func unifyImageAttribute(in *wire.ModifyImageAttributeInput) error {
	if len(in.ProductCodes) > 0 {
		return unsupported("ProductCode")
	}
	if len(in.OrganizationArns)+len(in.OrganizationalUnitArns) > 0 {
		return unsupported("A launch permission of an organization")
	}
	var list []wire.LaunchPermission
	for _, id := range in.UserIds {
		list = append(list, wire.LaunchPermission{UserId: &id})
	}
	for _, g := range in.UserGroups {
		list = append(list, wire.LaunchPermission{Group: &g})
	}
	switch name := query.Val(in.Attribute); {
	case name == "description" && in.Value != nil:
		in.Description = &wire.AttributeValue{Value: in.Value}
	case name == "imdsSupport" && in.Value != nil:
		in.ImdsSupport = &wire.AttributeValue{Value: in.Value}
	case (name == "launchPermission" || name == "") && len(list) > 0:
		in.LaunchPermission = &wire.LaunchPermissionModifications{}
		switch op := query.Val(in.OperationType); op {
		case "add":
			in.LaunchPermission.Add = list
		case "remove":
			in.LaunchPermission.Remove = list
		default:
			return invalid("operationType", op, "It is add or remove.")
		}
	case name == "" || name == "launchPermission" || name == "description" || name == "imdsSupport":
	default:
		return invalid("attribute", name, "It cannot be changed.")
	}
	return nil
}
