package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/netip"

	"eucad/store/cloud"
)

var interfaces = newTable("interface",
	func(n *cloud.Interface) string { return n.ID }, func(n *cloud.Interface) string { return n.AccountID },
	"vpc_id, subnet_id, instance_id", func(n *cloud.Interface) []any { return []any{n.VpcID, n.SubnetID, n.InstanceID} })

// Interface returns the network interface id of account.
func (rx Rx) Interface(ctx context.Context, account, id string) (cloud.Interface, error) {
	return interfaces.get(ctx, rx, account, id)
}

// Interfaces returns the network interfaces ids of account, or all of them when no id is given.
func (rx Rx) Interfaces(ctx context.Context, account string, ids ...string) ([]cloud.Interface, error) {
	return interfaces.list(ctx, rx, account, ids)
}

var (
	interfacesOfInstance = "SELECT body FROM interface WHERE instance_id = ? AND instance_id <> '' ORDER BY id"
	interfacesOfVpc      = interfaces.where("vpc_id = ?")
)

// InterfacesOfInstance returns the interfaces attached to instance.
func (rx Rx) InterfacesOfInstance(ctx context.Context, instance string) ([]cloud.Interface, error) {
	return interfaces.query(ctx, rx, interfacesOfInstance, instance)
}

// InterfacesOfVpc returns the interfaces in vpc.
func (rx Rx) InterfacesOfVpc(ctx context.Context, vpc string) ([]cloud.Interface, error) {
	return interfaces.query(ctx, rx, interfacesOfVpc, vpc)
}

// AddInterface adds n and claims its addresses; InvalidIPAddress.InUse when
// another interface of the VPC has one of them.
func (tx Tx) AddInterface(ctx context.Context, n cloud.Interface) error {
	if err := interfaces.put(ctx, tx, &n); err != nil {
		return err
	}
	if err := tx.joinGroups(ctx, n); err != nil {
		return err
	}
	for _, ip := range append([]netip.Addr{n.PrivateIP}, n.Secondary...) {
		err := tx.c.exec(ctx, `INSERT INTO private_address (vpc_id, ip, subnet_id, interface_id) VALUES (?, ?, ?, ?)`, n.VpcID, ip.String(), n.SubnetID, n.ID)
		if taken(err) {
			return cloud.Faultf("InvalidIPAddress.InUse", "Address %s is in use.", ip)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// PutInterface replaces n, whose addresses must not have changed.
func (tx Tx) PutInterface(ctx context.Context, n cloud.Interface) error {
	if err := interfaces.put(ctx, tx, &n); err != nil {
		return err
	}
	if err := tx.c.exec(ctx, `DELETE FROM interface_group WHERE interface_id = ?`, n.ID); err != nil {
		return err
	}
	return tx.joinGroups(ctx, n)
}

func (tx Tx) joinGroups(ctx context.Context, n cloud.Interface) error {
	for _, g := range n.Groups {
		if err := tx.c.exec(ctx, `INSERT INTO interface_group (group_id, interface_id) VALUES (?, ?)`, g, n.ID); err != nil {
			return err
		}
	}
	return nil
}

// DeleteInterface forgets n, gives its private addresses back and drops its tags.
func (tx Tx) DeleteInterface(ctx context.Context, n cloud.Interface) error {
	if err := tx.deleteTags(ctx, n.AccountID, n.ID); err != nil {
		return err
	}
	return interfaces.remove(ctx, tx, n.AccountID, n.ID)
}

func (rx Rx) privateTaken(ctx context.Context, vpc string, ip netip.Addr) (bool, error) {
	var n int
	err := rx.c.queryRow(ctx, `SELECT COUNT(*) FROM private_address WHERE vpc_id = ? AND ip = ?`, vpc, ip.String()).Scan(&n)
	return n > 0, err
}

// reservedHead and reservedTail addresses of a subnet are not for interfaces
// (EC2 docs, "Subnet sizing": the first four and the last).
const reservedHead, reservedTail = 4, 1

// FreePrivateIPs returns how many addresses of the subnet are left.
func (rx Rx) FreePrivateIPs(ctx context.Context, s cloud.Subnet) (int64, error) {
	var n int64
	err := rx.c.queryRow(ctx, `SELECT COUNT(*) FROM private_address WHERE subnet_id = ?`, s.ID).Scan(&n)
	return int64(1)<<(32-s.CIDR.Bits()) - reservedHead - reservedTail - n, err
}

// FreePrivateIP returns an address of s that no interface has, or
// InsufficientFreeAddressesInSubnet.
func (tx Tx) FreePrivateIP(ctx context.Context, s cloud.Subnet) (netip.Addr, error) {
	ip, err := pick(s.CIDR, reservedHead, reservedTail, func(ip netip.Addr) (bool, error) { return tx.privateTaken(ctx, s.VpcID, ip) })
	if err == nil && !ip.IsValid() {
		err = cloud.Faultf("InsufficientFreeAddressesInSubnet", "Subnet '%s' (%s) has no free address left; 1 is missing.", s.ID, s.CIDR)
	}
	return ip, err
}

// pick returns a free IPv4 address of p, without its first head and last tail
// ones, or the zero Addr. It guesses before it searches: pools are seldom full.
func pick(p netip.Prefix, head, tail uint32, taken func(netip.Addr) (bool, error)) (netip.Addr, error) {
	base := p.Masked().Addr().As4()
	first := binary.BigEndian.Uint32(base[:]) + head
	n := uint32(1)<<(32-p.Bits()) - head - tail
	at := func(i uint32) netip.Addr {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], first+i)
		return netip.AddrFrom4(b)
	}
	if uint32(1)<<(32-p.Bits()) <= head+tail {
		return netip.Addr{}, nil
	}
	for range 16 {
		ip := at(randN(n))
		if t, err := taken(ip); err != nil || !t {
			return ip, err
		}
	}
	start := randN(n)
	for i := range n {
		ip := at((start + i) % n)
		if t, err := taken(ip); err != nil || !t {
			return ip, err
		}
	}
	return netip.Addr{}, nil
}

// randN returns a number below n. It comes from where ids come from, so that a
// test that seeds that source (testing/cryptotest) gets the same cloud again.
func randN(n uint32) uint32 {
	var b [8]byte
	rand.Read(b[:])
	return uint32(binary.BigEndian.Uint64(b[:]) % uint64(n))
}

// FindInterface returns the interface id, whoever owns it, and whether there is one.
func (rx Rx) FindInterface(ctx context.Context, id string) (cloud.Interface, bool, error) {
	return interfaces.find(ctx, rx, id)
}
