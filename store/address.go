package store

import (
	"context"
	"errors"
	"net/netip"

	"eucad/store/cloud"
)

var addresses = newTable("address",
	func(a *cloud.Address) string { return a.ID }, func(a *cloud.Address) string { return a.AccountID },
	"ip, association_id, interface_id, instance_id",
	func(a *cloud.Address) []any {
		return []any{a.IP.String(), a.AssociationID, a.InterfaceID, a.InstanceID}
	})

// Address returns the address with this allocation id of account.
func (rx Rx) Address(ctx context.Context, account, id string) (cloud.Address, error) {
	return addresses.get(ctx, rx, account, id)
}

// Addresses returns the public addresses ids (allocation ids) of account, or
// all of them when no id is given; those an instance got by itself are among them.
func (rx Rx) Addresses(ctx context.Context, account string, ids ...string) ([]cloud.Address, error) {
	return addresses.list(ctx, rx, account, ids)
}

var (
	addressByIP          = addresses.where("ip = ? AND account_id = ?")
	addressByAssociation = "SELECT body FROM address WHERE association_id = ? AND association_id <> '' AND account_id = ?"
	addressesOfInterface = "SELECT body FROM address WHERE interface_id = ? AND interface_id <> '' ORDER BY id"
)

// AddressByIP returns the address ip of account, and whether it has it.
func (rx Rx) AddressByIP(ctx context.Context, account string, ip netip.Addr) (cloud.Address, bool, error) {
	return firstOf(addresses.query(ctx, rx, addressByIP, ip.String(), account))
}

// AddressByAssociation returns the address of account with this association id, and whether there is one.
func (rx Rx) AddressByAssociation(ctx context.Context, account, association string) (cloud.Address, bool, error) {
	return firstOf(addresses.query(ctx, rx, addressByAssociation, association, account))
}

// AddressesOfInterface returns the public addresses that lead to an interface.
func (rx Rx) AddressesOfInterface(ctx context.Context, id string) ([]cloud.Address, error) {
	return addresses.query(ctx, rx, addressesOfInterface, id)
}

func firstOf[T any](v []T, err error) (T, bool, error) {
	if err != nil || len(v) == 0 {
		var zero T
		return zero, false, err
	}
	return v[0], true, nil
}

// AddAddress adds a, which must be new. The interface it leads to counts as changed too.
func (tx Tx) AddAddress(ctx context.Context, a cloud.Address) error {
	if a.InterfaceID != "" {
		tx.touch(a.AccountID, "interface", a.InterfaceID)
	}
	return addresses.put(ctx, tx, &a)
}

// PutAddress adds or replaces a. The interfaces it led and leads to count as changed too.
func (tx Tx) PutAddress(ctx context.Context, a cloud.Address) error {
	if err := tx.touchLedTo(ctx, a, a.InterfaceID); err != nil {
		return err
	}
	return addresses.put(ctx, tx, &a)
}

// touchLedTo marks the interface that address a leads to in the store, and next, as changed.
func (tx Tx) touchLedTo(ctx context.Context, a cloud.Address, next string) error {
	was, _, err := addresses.find(ctx, tx.Rx, a.ID)
	if err != nil {
		return err
	}
	for _, id := range []string{was.InterfaceID, next} {
		if id != "" {
			tx.touch(a.AccountID, "interface", id)
		}
	}
	return nil
}

// DeleteAddress gives a back to the pool and drops its tags.
func (tx Tx) DeleteAddress(ctx context.Context, a cloud.Address) error {
	if err := errors.Join(tx.deleteTags(ctx, a.AccountID, a.ID), tx.touchLedTo(ctx, a, "")); err != nil {
		return err
	}
	return addresses.remove(ctx, tx, a.AccountID, a.ID)
}

// FreePublicIP returns an address of r that nobody has, or InsufficientAddressCapacity.
func (tx Tx) FreePublicIP(ctx context.Context, r cloud.PublicRange) (netip.Addr, error) {
	if !r.Prefix.IsValid() {
		return netip.Addr{}, cloud.Faultf("InsufficientAddressCapacity", "This cloud has no pool of public addresses.")
	}
	ip, err := pick(r.Prefix, 1, 1, func(ip netip.Addr) (bool, error) {
		var n int
		err := tx.c.queryRow(ctx, `SELECT COUNT(*) FROM address WHERE ip = ?`, ip.String()).Scan(&n)
		return n > 0, err
	})
	if err == nil && !ip.IsValid() {
		err = cloud.Faultf("InsufficientAddressCapacity", "The pool of public addresses %s has no free address left; 1 is missing. Release one, or ask the operator for a larger range.", r)
	}
	return ip, err
}

var addressesOfVpc = addresses.where("interface_id <> '' AND interface_id IN (SELECT id FROM interface WHERE vpc_id = ?)")

// AddressesOfVpc returns the public addresses that lead to interfaces in vpc.
func (rx Rx) AddressesOfVpc(ctx context.Context, vpc string) ([]cloud.Address, error) {
	return addresses.query(ctx, rx, addressesOfVpc, vpc)
}

const everyAddress = "SELECT body FROM address ORDER BY id"

// AddressesOfZone returns the public addresses of a zone's own range that are
// in somebody's hands, and all others that lead to an interface in the zone. It
// reads every address of the cloud.
func (rx Rx) AddressesOfZone(ctx context.Context, zone string) ([]cloud.Address, error) {
	all, err := addresses.query(ctx, rx, everyAddress)
	if err != nil {
		return nil, err
	}
	var out []cloud.Address
	for _, a := range all {
		here := a.Zone == zone
		if !here && a.InterfaceID != "" {
			n, _, err := rx.FindInterface(ctx, a.InterfaceID)
			if err != nil {
				return nil, err
			}
			here = n.Zone == zone
		}
		if here {
			out = append(out, a)
		}
	}
	return out, nil
}

var addressByIPAlone = addresses.where("ip = ?")

// FindAddress returns the public address ip, whoever has it, and whether anybody does.
func (rx Rx) FindAddress(ctx context.Context, ip netip.Addr) (cloud.Address, bool, error) {
	return firstOf(addresses.query(ctx, rx, addressByIPAlone, ip.String()))
}
