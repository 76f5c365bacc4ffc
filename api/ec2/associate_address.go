package ec2

import (
	"context"
	"net/netip"
	"slices"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// associateAddress makes an Elastic IP lead to a private address of an
// interface. Done twice it is done once (EC2 docs: "Ensuring idempotency").
func (s *Server) associateAddress(ctx context.Context, in *wire.AssociateAddressInput) (*wire.AssociateAddressOutput, error) {
	var private netip.Addr
	if v := query.Val(in.PrivateIpAddress); v != "" {
		var err error
		if private, err = parseIPv4("privateIpAddress", v); err != nil {
			return nil, err
		}
	}
	stay := in.AllowReassociation != nil && !*in.AllowReassociation
	var id string
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		a, err := findAddress(ctx, tx.Rx, in.AllocationId, in.PublicIp)
		if err != nil {
			return err
		}
		n, err := associable(ctx, tx.Rx, query.Val(in.InstanceId), query.Val(in.NetworkInterfaceId))
		if err != nil {
			return err
		}
		ip, err := privateOf(&n, private)
		if err != nil {
			return err
		}
		if a.InterfaceID == n.ID && a.PrivateIP == ip {
			id = a.AssociationID
			return tx.Audit(ctx)
		}
		if err := s.sameGroup(ctx, tx.Rx, &a, &n); err != nil {
			return err
		}
		if a.AssociationID != "" && stay {
			return cloud.Faultf("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", a.ID, a.AssociationID)
		}
		if err := makeRoom(ctx, tx, &n, ip, stay); err != nil {
			return err
		}
		if a.AssociationID != "" { // after makeRoom, whose address the old interface may get
			if err := s.disassociate(ctx, tx, a); err != nil {
				return err
			}
		}
		id = cloud.NewID("eipassoc")
		a.AssociationID, a.InterfaceID, a.InstanceID, a.PrivateIP = id, n.ID, n.InstanceID, ip
		if err := tx.PutAddress(ctx, a); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return &wire.AssociateAddressOutput{AssociationId: &id}, err
}

// associable returns the interface that an address shall lead to: the named
// one, or the only one of an instance.
func associable(ctx context.Context, rx store.Rx, instance, eni string) (n cloud.Interface, err error) {
	acct := account(ctx)
	switch {
	case instance != "" && eni != "":
		return n, cloud.Faultf("InvalidParameterCombination", "You may specify either an instance or a network interface, but not both.")
	case eni != "":
		if err := checkIDs("eni", eni); err != nil {
			return n, err
		}
		n, err = rx.Interface(ctx, acct, eni)
	case instance != "":
		n, err = onlyInterface(ctx, rx, acct, instance)
	default:
		return n, cloud.Faultf("MissingParameter", "Either instance ID or network interface id must be specified")
	}
	if err != nil {
		return n, err
	}
	gateways, err := rx.Gateways(ctx, acct)
	if err == nil && !slices.ContainsFunc(gateways, func(g cloud.Gateway) bool { return g.VpcID == n.VpcID }) {
		err = cloud.Faultf("Gateway.NotAttached", "Network %s is not attached to any internet gateway", n.VpcID)
	}
	return n, err
}

func onlyInterface(ctx context.Context, rx store.Rx, account, instance string) (n cloud.Interface, err error) {
	if err := checkIDs("i", instance); err != nil {
		return n, err
	}
	i, err := rx.Instance(ctx, account, instance)
	if err != nil {
		return n, err
	}
	enis, err := rx.InterfacesOfInstance(ctx, i.ID)
	switch {
	case err != nil:
		return n, err
	case i.State == cloud.ShuttingDown || i.State == cloud.Terminated || len(enis) == 0:
		return n, cloud.Faultf("InvalidInstanceID", "The instance '%s' is not in a valid state for this operation: it is %s.", i.ID, i.State)
	case len(enis) > 1:
		return n, cloud.Faultf("InvalidInstanceID", "There are multiple interfaces attached to instance '%s'. Please specify an interface ID for the operation instead.", i.ID)
	}
	return enis[0], nil
}

// privateOf returns which private address of n a request means: its primary
// one, unless it says otherwise.
func privateOf(n *cloud.Interface, want netip.Addr) (netip.Addr, error) {
	if !want.IsValid() || want == n.PrivateIP || slices.Contains(n.Secondary, want) {
		if want.IsValid() {
			return want, nil
		}
		return n.PrivateIP, nil
	}
	return want, cloud.Faultf("InvalidParameterValue", "The private IP address %s is not one of the network interface '%s'", want, n.ID)
}

// makeRoom frees a private address from the public one that leads to it: an
// Elastic IP stays its owner's, any other goes back to the pool.
func makeRoom(ctx context.Context, tx store.Tx, n *cloud.Interface, ip netip.Addr, stay bool) error {
	have, err := tx.AddressesOfInterface(ctx, n.ID)
	if err != nil {
		return err
	}
	for _, a := range have {
		switch {
		case a.PrivateIP != ip:
			continue
		case a.Auto:
			err = tx.DeleteAddress(ctx, a)
		case stay:
			err = cloud.Faultf("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", n.ID, a.AssociationID)
		default:
			err = tx.PutAddress(ctx, unassociated(a))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func unassociated(a cloud.Address) cloud.Address {
	a.AssociationID, a.InterfaceID, a.InstanceID, a.PrivateIP = "", "", "", netip.Addr{}
	return a
}

// disassociateAddress makes an Elastic IP lead nowhere. It is idempotent for
// an address; an association that is no more does not exist.
func (s *Server) disassociateAddress(ctx context.Context, in *wire.DisassociateAddressInput) (*wire.DisassociateAddressOutput, error) {
	assoc := query.Val(in.AssociationId)
	switch {
	case assoc != "" && query.Val(in.PublicIp) != "":
		return nil, cloud.Faultf("InvalidParameterCombination", "You may specify public IP or association id, but not both in the same call")
	case assoc == "" && query.Val(in.PublicIp) == "":
		return nil, cloud.Faultf("MissingParameter", "Either public IP or association id must be specified")
	case assoc != "":
		if err := checkIDs("eipassoc", assoc); err != nil {
			return nil, err
		}
	}
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		var a cloud.Address
		var err error
		if assoc == "" {
			a, err = addressByIP(ctx, tx.Rx, *in.PublicIp)
		} else {
			var ok bool
			a, ok, err = tx.AddressByAssociation(ctx, account(ctx), assoc)
			if err == nil && (!ok || a.Auto) {
				err = cloud.NotFound(assoc)
			}
		}
		if err != nil {
			return err
		}
		if a.AssociationID != "" {
			if err := s.disassociate(ctx, tx, a); err != nil {
				return err
			}
		}
		return tx.Audit(ctx)
	})
	return nil, err
}

// disassociate takes an Elastic IP off its interface. One that wants a public
// address, and whose instance runs, gets another from the pool, as on EC2; when
// the pool has none it does without.
func (s *Server) disassociate(ctx context.Context, tx store.Tx, a cloud.Address) error {
	was := a.InterfaceID
	if err := tx.PutAddress(ctx, unassociated(a)); err != nil {
		return err
	}
	n, ok, err := tx.FindInterface(ctx, was)
	if err != nil || !ok || n.InstanceID == "" || a.PrivateIP != n.PrivateIP {
		return err
	}
	i, err := tx.Instance(ctx, n.AccountID, n.InstanceID)
	if err != nil || i.State != cloud.Pending && i.State != cloud.Running {
		return err
	}
	err = s.givePublic(ctx, tx, &n)
	if cloud.FaultCode(err) == "InsufficientAddressCapacity" {
		return nil
	}
	return err
}
