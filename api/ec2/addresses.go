package ec2

import (
	"context"
	"net/netip"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// elasticIP returns the Elastic IP of account with this allocation id. An
// address that an instance got from the pool by itself is none.
func elasticIP(ctx context.Context, rx store.Rx, account, id string) (cloud.Address, error) {
	a, err := rx.Address(ctx, account, id)
	if err == nil && a.Auto {
		err = cloud.NotFound(id)
	}
	return a, err
}

// elasticIPs returns the caller's Elastic IPs with these allocation ids and
// addresses, each of which must exist, or all when none is given.
func elasticIPs(ctx context.Context, rx store.Rx, ids, ips []string) (list []cloud.Address, err error) {
	for _, id := range ids {
		a, err := elasticIP(ctx, rx, account(ctx), id)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	for _, ip := range ips {
		a, err := addressByIP(ctx, rx, ip)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	if len(ids)+len(ips) == 0 {
		list, err = rx.Addresses(ctx, account(ctx))
	}
	return keep(list, func(a cloud.Address) bool { return !a.Auto }), err
}

// findAddress returns the Elastic IP that a request names by its allocation id
// or, in the way of EC2's early days, by the address itself.
func findAddress(ctx context.Context, rx store.Rx, allocation, ip *string) (cloud.Address, error) {
	switch {
	case query.Val(allocation) != "" && query.Val(ip) != "":
		return cloud.Address{}, cloud.Faultf("InvalidParameterCombination", "You may specify public IP or allocation id, but not both in the same call")
	case query.Val(allocation) != "":
		if err := checkIDs("eipalloc", *allocation); err != nil {
			return cloud.Address{}, err
		}
		return elasticIP(ctx, rx, account(ctx), *allocation)
	case query.Val(ip) != "":
		return addressByIP(ctx, rx, *ip)
	}
	return cloud.Address{}, cloud.Faultf("MissingParameter", "Either public IP or allocation id must be specified")
}

func addressByIP(ctx context.Context, rx store.Rx, ip string) (cloud.Address, error) {
	addr, err := parseIPv4("publicIp", ip)
	if err != nil {
		return cloud.Address{}, err
	}
	a, ok, err := rx.AddressByIP(ctx, account(ctx), addr)
	if err == nil && (!ok || a.Auto) {
		err = cloud.Faultf("InvalidAddress.NotFound", "Address '%s' not found.", addr)
	}
	return a, err
}

// allocateAddress takes an address out of the public pool.
func (s *Server) allocateAddress(ctx context.Context, in *wire.AllocateAddressInput) (*wire.AllocateAddressOutput, error) {
	switch {
	case query.Val(in.Domain) != "" && *in.Domain != "vpc" && *in.Domain != "standard": // standard: of EC2-Classic, lands in the VPC
		return nil, invalid("domain", *in.Domain, "It is vpc.")
	case query.Val(in.CustomerOwnedIpv4Pool) != "":
		return nil, unsupported("A customer-owned address pool")
	case query.Val(in.IpamPoolId) != "":
		return nil, unsupported("An IPAM pool")
	case query.Val(in.PublicIpv4Pool) != "" && *in.PublicIpv4Pool != "amazon":
		return nil, cloud.Faultf("InvalidPublicIpv4PoolID.NotFound", "The pool ID '%s' does not exist; the cloud's own is 'amazon'.", clip(*in.PublicIpv4Pool))
	}
	tags, err := readTagSpecifications(in.TagSpecifications, "elastic-ip")
	if err != nil {
		return nil, err
	}
	var want netip.Addr
	if query.Val(in.Address) != "" {
		if want, err = parseIPv4("address", *in.Address); err != nil {
			return nil, err
		}
	}
	a := cloud.Address{ID: cloud.NewID("eipalloc"), AccountID: account(ctx)}
	err = s.DB.Write(ctx, func(tx store.Tx) (err error) {
		r, err := s.borderGroup(ctx, tx.Rx, in.NetworkBorderGroup, want)
		if err != nil {
			return err
		}
		if a.IP, err = publicIP(ctx, tx, r, want); err != nil {
			return err
		}
		a.Zone = r.Zone
		a.Created = tx.Now()
		if err := tx.PutAddress(ctx, a); err != nil {
			return err
		}
		if err := tags.put(ctx, tx, a.AccountID, "elastic-ip", a.ID); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	if err != nil {
		return nil, err
	}
	return &wire.AllocateAddressOutput{PublicIp: query.Ptr(a.IP.String()), AllocationId: &a.ID, Domain: query.Ptr("vpc"),
		PublicIpv4Pool: query.Ptr("amazon"), NetworkBorderGroup: query.Ptr(s.groupName(a.Zone))}, nil
}

// publicIP returns a free address of the range: the one that is wanted, if any.
func publicIP(ctx context.Context, tx store.Tx, r cloud.PublicRange, want netip.Addr) (netip.Addr, error) {
	if !want.IsValid() {
		return tx.FreePublicIP(ctx, r)
	}
	_, taken, err := tx.FindAddress(ctx, want)
	if err == nil && taken {
		err = cloud.Faultf("InvalidAddress.NotFound", "Address '%s' is not available.", want)
	}
	return want, err
}

// releaseAddress gives an address back to the pool.
func (s *Server) releaseAddress(ctx context.Context, in *wire.ReleaseAddressInput) (*wire.ReleaseAddressOutput, error) {
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		a, err := findAddress(ctx, tx.Rx, in.AllocationId, in.PublicIp)
		if err != nil {
			return err
		}
		if g := query.Val(in.NetworkBorderGroup); g != "" && g != s.groupName(a.Zone) {
			return cloud.Faultf("InvalidAddress.NotFound", "Address '%s' is not in the network border group '%s'; it is in '%s'.", a.IP, clip(g), s.groupName(a.Zone))
		}
		if a.AssociationID != "" {
			return cloud.Faultf("InvalidIPAddress.InUse", "Address %s is in use: it is associated with %s; disassociate it first.", a.IP, a.InterfaceID)
		}
		if err := tx.DeleteAddress(ctx, a); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return nil, err
}

func addressID(a *cloud.Address) string { return a.ID }

// describeAddresses tells about Elastic IPs.
func (s *Server) describeAddresses(ctx context.Context, in *wire.DescribeAddressesInput) (*wire.DescribeAddressesOutput, error) {
	sel := selection{prefix: "eipalloc", ids: in.AllocationIds, filters: in.Filters}
	if len(in.PublicIps) > 0 {
		if err := checkIDs("eipalloc", in.AllocationIds...); err != nil {
			return nil, err
		}
		sel.ids = nil
	}
	subnets := map[string]string{} // by interface
	list, _, err := choose(ctx, s.DB, sel, s.addressFilters(), addressID, func(rx store.Rx) (list []cloud.Address, err error) {
		if list, err = elasticIPs(ctx, rx, in.AllocationIds, in.PublicIps); err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].InterfaceID == "" {
				continue
			}
			n, _, err := rx.FindInterface(ctx, list[i].InterfaceID)
			if err != nil {
				return nil, err
			}
			subnets[n.ID] = n.SubnetID
		}
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeAddressesOutput{Addresses: make([]wire.Address, len(list))}
	for n := range list {
		out.Addresses[n] = s.wireAddress(&list[n].v, list[n].tags)
		out.Addresses[n].SubnetId = opt(subnets[list[n].v.InterfaceID])
	}
	return out, nil
}

func (s *Server) wireAddress(a *cloud.Address, tags []cloud.Tag) wire.Address {
	w := wire.Address{PublicIp: query.Ptr(a.IP.String()), AllocationId: &a.ID, Domain: query.Ptr("vpc"),
		PublicIpv4Pool: query.Ptr("amazon"), NetworkBorderGroup: query.Ptr(s.groupName(a.Zone)), Tags: wireTags(tags)}
	if a.AssociationID != "" {
		w.AssociationId, w.InstanceId, w.NetworkInterfaceId = &a.AssociationID, opt(a.InstanceID), &a.InterfaceID
		w.NetworkInterfaceOwnerId, w.PrivateIpAddress = &a.AccountID, query.Ptr(a.PrivateIP.String())
	}
	return w
}

// addressFilters are EC2's filters for Elastic IPs.
func (s *Server) addressFilters() query.Fields[tagged[cloud.Address]] {
	type address = cloud.Address
	associated := func(get func(*address) string) func(tagged[address]) []string {
		return field(func(a *address) string {
			if a.AssociationID == "" {
				return ""
			}
			return get(a)
		})
	}
	return query.Fields[tagged[address]]{
		"allocation-id":              field(addressID),
		"association-id":             field(func(a *address) string { return a.AssociationID }),
		"domain":                     always[address]("vpc"),
		"instance-id":                associated(func(a *address) string { return a.InstanceID }),
		"network-border-group":       field(func(a *address) string { return s.groupName(a.Zone) }),
		"network-interface-id":       associated(func(a *address) string { return a.InterfaceID }),
		"network-interface-owner-id": associated(func(a *address) string { return a.AccountID }),
		"private-ip-address":         associated(func(a *address) string { return a.PrivateIP.String() }),
		"public-ip":                  field(func(a *address) string { return a.IP.String() }),
	}
}
