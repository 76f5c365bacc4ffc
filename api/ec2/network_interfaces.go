package ec2

import (
	"context"
	"net/netip"
	"strconv"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

func nicID(n *nic) string { return n.ID }

// describeNetworkInterfaces tells about network interfaces.
func (s *Server) describeNetworkInterfaces(ctx context.Context, in *wire.DescribeNetworkInterfacesInput) (*wire.DescribeNetworkInterfacesOutput, error) {
	if len(in.NetworkInterfaceIds) > 0 && in.MaxResults != nil {
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameter networkInterfaceIds cannot be used with the parameter maxResults")
	}
	sel := selection{prefix: "eni", ids: in.NetworkInterfaceIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken}
	page, next, err := choose(ctx, s.DB, sel, s.nicFilters(), nicID, func(rx store.Rx) ([]nic, error) {
		return s.readNICs(ctx, rx, in.NetworkInterfaceIds)
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeNetworkInterfacesOutput{NextToken: next, NetworkInterfaces: make([]wire.NetworkInterface, len(page))}
	for n := range page {
		out.NetworkInterfaces[n] = s.wireInterface(&page[n].v, page[n].tags)
	}
	return out, nil
}

// readNICs returns the interfaces ids, or all, with their groups and addresses.
func (s *Server) readNICs(ctx context.Context, rx store.Rx, ids []string) ([]nic, error) {
	list, err := rx.Interfaces(ctx, account(ctx), ids...)
	if err != nil {
		return nil, err
	}
	leads := map[string][]cloud.Address{}
	if len(ids) == 0 {
		all, err := rx.Addresses(ctx, account(ctx))
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			leads[a.InterfaceID] = append(leads[a.InterfaceID], a)
		}
	}
	names := groupNames{}
	out := make([]nic, len(list))
	for i, n := range list {
		groups, err := names.of(ctx, rx, n.AccountID, n.Groups)
		if err != nil {
			return nil, err
		}
		addresses := leads[n.ID]
		if len(ids) > 0 {
			if addresses, err = rx.AddressesOfInterface(ctx, n.ID); err != nil {
				return nil, err
			}
		}
		out[i] = nic{Interface: n, groups: groups, addresses: addresses, privateName: cloud.PrivateName(n.PrivateIP, s.Cfg.Region)}
	}
	return out, nil
}

func (s *Server) wireInterface(n *nic, tags []cloud.Tag) wire.NetworkInterface {
	w := wire.NetworkInterface{
		NetworkInterfaceId: &n.ID,
		SubnetId:           &n.SubnetID,
		VpcId:              &n.VpcID,
		AvailabilityZone:   &n.Zone,
		AvailabilityZoneId: query.Ptr(cloud.ZoneID(s.Cfg.Region, n.Zone)),
		Description:        &n.Description,
		OwnerId:            &n.AccountID,
		RequesterManaged:   query.Ptr(false),
		Status:             query.Ptr(nicStatus(n)),
		MacAddress:         &n.MAC,
		PrivateIpAddress:   query.Ptr(n.PrivateIP.String()),
		PrivateDnsName:     &n.privateName,
		SourceDestCheck:    query.Ptr(!n.NoSourceDestCheck),
		Groups:             n.groups,
		InterfaceType:      query.Ptr("interface"),
		Association:        s.wireLead(n, n.PrivateIP),
		TagSet:             wireTags(tags),
	}
	if n.InstanceID != "" {
		w.Attachment = &wire.NetworkInterfaceAttachment{AttachmentId: &n.AttachmentID, InstanceId: &n.InstanceID, InstanceOwnerId: &n.AccountID,
			DeviceIndex: &n.DeviceIndex, NetworkCardIndex: query.Ptr(int64(0)), Status: query.Ptr("attached"), AttachTime: &n.Attached, DeleteOnTermination: &n.DeleteOnTermination}
	}
	for k, ip := range append([]netip.Addr{n.PrivateIP}, n.Secondary...) {
		w.PrivateIpAddresses = append(w.PrivateIpAddresses, wire.NetworkInterfacePrivateIpAddress{PrivateIpAddress: query.Ptr(ip.String()),
			PrivateDnsName: query.Ptr(cloud.PrivateName(ip, s.Cfg.Region)), Primary: query.Ptr(k == 0), Association: s.wireLead(n, ip)})
	}
	return w
}

func nicStatus(n *nic) string {
	if n.InstanceID == "" {
		return "available"
	}
	return "in-use"
}

// wireLead returns the public address that leads to ip of n, nil for none. One
// that the instance got by itself has neither allocation nor association to act on.
func (s *Server) wireLead(n *nic, ip netip.Addr) *wire.NetworkInterfaceAssociation {
	a, ok := n.public(ip)
	if !ok {
		return nil
	}
	w := &wire.NetworkInterfaceAssociation{PublicIp: query.Ptr(a.IP.String()), PublicDnsName: query.Ptr(cloud.PublicName(a.IP, s.Cfg.Region, s.Cfg.Domain)),
		IpOwnerId: query.Ptr(addressOwner(&a))}
	if !a.Auto {
		w.AllocationId, w.AssociationId = &a.ID, &a.AssociationID
	}
	return w
}

// nicFilters are EC2's filters for network interfaces. Those of what
// interfaces here never have (IPv6, requesters, …) match nothing.
func (s *Server) nicFilters() query.Fields[tagged[nic]] {
	leads := func(get func(*cloud.Address) string) func(tagged[nic]) []string {
		return fields(func(n *nic) []string { return each(n.addresses, get) })
	}
	elastic := func(get func(*cloud.Address) string) func(tagged[nic]) []string {
		return leads(func(a *cloud.Address) string {
			if a.Auto {
				return ""
			}
			return get(a)
		})
	}
	attached := func(get func(*nic) string) func(tagged[nic]) []string {
		return field(func(n *nic) string {
			if n.InstanceID == "" {
				return ""
			}
			return get(n)
		})
	}
	publicIP := leads(func(a *cloud.Address) string { return a.IP.String() })
	publicName := leads(func(a *cloud.Address) string { return cloud.PublicName(a.IP, s.Cfg.Region, s.Cfg.Domain) })
	none := always[nic]("")
	return query.Fields[tagged[nic]]{
		"addresses.association.owner-id":   leads(addressOwner),
		"addresses.association.public-ip":  publicIP,
		"addresses.primary":                fields(primaries),
		"addresses.private-ip-address":     fields(func(n *nic) []string { return privateIPs(n) }),
		"association.allocation-id":        elastic(func(a *cloud.Address) string { return a.ID }),
		"association.association-id":       elastic(func(a *cloud.Address) string { return a.AssociationID }),
		"association.ip-owner-id":          leads(addressOwner),
		"association.public-dns-name":      publicName,
		"association.public-ip":            publicIP,
		"attachment.attach-time":           attached(func(n *nic) string { return instant(n.Attached)[0] }),
		"attachment.attachment-id":         attached(func(n *nic) string { return n.AttachmentID }),
		"attachment.delete-on-termination": attached(func(n *nic) string { return strconv.FormatBool(n.DeleteOnTermination) }),
		"attachment.device-index":          attached(func(n *nic) string { return strconv.FormatInt(n.DeviceIndex, 10) }),
		"attachment.instance-id":           attached(func(n *nic) string { return n.InstanceID }),
		"attachment.instance-owner-id":     attached(func(n *nic) string { return n.AccountID }),
		"attachment.nat-gateway-id":        none,
		"attachment.status":                attached(func(*nic) string { return "attached" }),
		"availability-zone":                field(func(n *nic) string { return n.Zone }),
		"availability-zone-id":             field(func(n *nic) string { return cloud.ZoneID(s.Cfg.Region, n.Zone) }),
		"description":                      field(func(n *nic) string { return n.Description }),
		"group-id":                         fields(func(n *nic) []string { return n.Groups }),
		"group-name": fields(func(n *nic) []string {
			return each(n.groups, func(g *wire.GroupIdentifier) string { return *g.GroupName })
		}),
		"interface-type":              always[nic]("interface"),
		"ipv6-addresses.ipv6-address": none,
		"mac-address":                 field(func(n *nic) string { return n.MAC }),
		"network-interface-id":        field(nicID),
		"operator.managed":            always[nic]("false"),
		"operator.principal":          none,
		"owner-id":                    field(func(n *nic) string { return n.AccountID }),
		"private-dns-name":            field(func(n *nic) string { return n.privateName }),
		"private-ip-address":          field(func(n *nic) string { return n.PrivateIP.String() }),
		"requester-id":                none,
		"requester-managed":           always[nic]("false"),
		"source-dest-check":           truth(func(n *nic) bool { return !n.NoSourceDestCheck }),
		"status":                      field(nicStatus),
		"subnet-id":                   field(func(n *nic) string { return n.SubnetID }),
		"vpc-id":                      field(func(n *nic) string { return n.VpcID }),
	}
}

// modifyNetworkInterfaceAttribute changes one attribute of an interface.
func (s *Server) modifyNetworkInterfaceAttribute(ctx context.Context, in *wire.ModifyNetworkInterfaceAttributeInput) (*wire.ModifyNetworkInterfaceAttributeOutput, error) {
	id := query.Val(in.NetworkInterfaceId)
	if err := checkIDs("eni", id); err != nil {
		return nil, err
	}
	change, err := nicChange(in)
	if err != nil {
		return nil, err
	}
	err = s.DB.Write(ctx, func(tx store.Tx) error {
		n, err := tx.Interface(ctx, account(ctx), id)
		if err != nil {
			return err
		}
		if err := change(ctx, tx, &n); err != nil {
			return err
		}
		if err := tx.PutInterface(ctx, n); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return nil, err
}

// nicChange returns the one change that a request asks for.
func nicChange(in *wire.ModifyNetworkInterfaceAttributeInput) (func(context.Context, store.Tx, *cloud.Interface) error, error) {
	type change = func(context.Context, store.Tx, *cloud.Interface) error
	if in.AssociatePublicIpAddress != nil || in.EnablePrimaryIpv6 != nil || in.EnaSrdSpecification != nil || in.ConnectionTrackingSpecification != nil || len(in.AssociatedSubnetIds) > 0 {
		return nil, unsupported("A change of an interface other than of its groups, description, attachment and source/destination check")
	}
	var all []change
	if in.Description != nil {
		all = append(all, func(_ context.Context, _ store.Tx, n *cloud.Interface) error {
			if len(query.Val(in.Description.Value)) > maxGroupText {
				return cloud.Faultf("InvalidParameterValue", "A description has up to %d bytes.", maxGroupText)
			}
			n.Description = query.Val(in.Description.Value)
			return nil
		})
	}
	if in.SourceDestCheck != nil && in.SourceDestCheck.Value != nil {
		all = append(all, func(_ context.Context, _ store.Tx, n *cloud.Interface) error {
			n.NoSourceDestCheck = !*in.SourceDestCheck.Value
			return nil
		})
	}
	if len(in.Groups) > 0 {
		all = append(all, func(ctx context.Context, tx store.Tx, n *cloud.Interface) (err error) {
			if len(in.Groups) > maxGroups {
				return cloud.Faultf("SecurityGroupsPerInterfaceLimitExceeded", "An interface is in up to %d security groups.", maxGroups)
			}
			if err := checkIDs("sg", in.Groups...); err != nil {
				return err
			}
			n.Groups, err = resolveGroups(ctx, tx, n.AccountID, n.VpcID, in.Groups, nil)
			return err
		})
	}
	if in.Attachment != nil {
		all = append(all, func(_ context.Context, _ store.Tx, n *cloud.Interface) error {
			return changeAttachment(n, in.Attachment)
		})
	}
	if len(all) != 1 {
		return nil, cloud.Faultf("InvalidParameterCombination", "Exactly one attribute of an interface is changed by a request; yours names %d.", len(all))
	}
	return all[0], nil
}

func changeAttachment(n *cloud.Interface, in *wire.NetworkInterfaceAttachmentChanges) error {
	id := query.Val(in.AttachmentId)
	switch {
	case in.EnaQueueCount != nil || in.DefaultEnaQueueCount != nil:
		return unsupported("An ENA queue count")
	case id == "":
		return missing("Attachment.AttachmentId")
	case in.DeleteOnTermination == nil:
		return missing("Attachment.DeleteOnTermination")
	case n.InstanceID == "" || n.AttachmentID != id:
		return cloud.Faultf("InvalidAttachmentID.NotFound", "The attachment '%s' does not exist at the interface '%s'", clip(id), n.ID)
	}
	n.DeleteOnTermination = *in.DeleteOnTermination
	return nil
}
