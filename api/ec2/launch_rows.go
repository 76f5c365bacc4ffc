package ec2

import (
	"context"
	"net/netip"

	"eucad/api/ec2/wire"
	"eucad/store"
	"eucad/store/cloud"
)

// addInstance writes the rows of one instance of a launch. When the public
// pool has run out it fails before it writes anything.
func (s *Server) addInstance(ctx context.Context, tx store.Tx, l *launch, index int64, at place, disks []diskPlan, nics []nicPlan, names groupNames) (*instanceItem, error) {
	i := l.base
	i.ID, i.LaunchIndex, i.Node, i.Hypervisor = cloud.NewID("i"), index, at.node.Name, at.node.Hypervisor()
	var public netip.Addr
	if nics[0].publicN {
		var err error
		if public, err = tx.FreePublicIP(ctx, l.public); err != nil {
			return nil, err
		}
	}
	var have []nic
	for k := range nics {
		eni, err := addNIC(ctx, tx, l, &i, &nics[k])
		if err != nil {
			return nil, err
		}
		groups, err := names.of(ctx, tx.Rx, i.AccountID, eni.Groups)
		if err != nil {
			return nil, err
		}
		have = append(have, nic{Interface: eni, groups: groups})
		i.Interfaces = append(i.Interfaces, eni.ID)
	}
	i.PrivateIP = have[0].PrivateIP
	for k := range disks {
		if err := s.addDisk(ctx, tx, l, &i, &disks[k]); err != nil {
			return nil, err
		}
	}
	if err := tx.AddInstance(ctx, i, l.accepted, at.why); err != nil {
		return nil, err
	}
	if err := l.tags.put(ctx, tx, i.AccountID, "instance", i.ID); err != nil {
		return nil, err
	}
	if public.IsValid() {
		if err := tx.AddAddress(ctx, autoAddress(tx, &have[0].Interface, l.public, public)); err != nil {
			return nil, err
		}
	}
	// EC2 does not tell the public address before the instance runs.
	return s.newItem(i, have, l.tags["instance"]), nil
}

// autoAddress returns the row of a public address that an instance gets from
// the range for as long as it runs.
func autoAddress(tx store.Tx, n *cloud.Interface, r cloud.PublicRange, ip netip.Addr) cloud.Address {
	return cloud.Address{ID: cloud.NewID("eipalloc"), AccountID: n.AccountID, IP: ip, Zone: r.Zone, Auto: true, AssociationID: cloud.NewID("eipassoc"),
		InterfaceID: n.ID, InstanceID: n.InstanceID, PrivateIP: n.PrivateIP, Created: tx.Now()}
}

// addNIC makes or attaches an interface of instance i.
func addNIC(ctx context.Context, tx store.Tx, l *launch, i *cloud.Instance, p *nicPlan) (cloud.Interface, error) {
	n := p.eni
	if !p.attach {
		n = cloud.Interface{ID: cloud.NewID("eni"), AccountID: i.AccountID, VpcID: p.subnet.VpcID, SubnetID: p.subnet.ID, Zone: p.subnet.Zone,
			Description: p.description, PrivateIP: p.ip, Secondary: append([]netip.Addr(nil), p.secondary...), Groups: p.groups,
			WantsPublic: p.publicN, Created: tx.Now()}
		n.MAC = macOf(n.ID)
	}
	n.InstanceID, n.DeviceIndex, n.AttachmentID, n.Attached, n.DeleteOnTermination = i.ID, p.index, cloud.NewID("eni-attach"), tx.Now(), !p.keep
	if p.attach {
		return n, tx.PutInterface(ctx, n)
	}
	if err := chooseAddresses(ctx, tx, p, &n); err != nil {
		return n, err
	}
	if err := tx.AddInterface(ctx, n); err != nil {
		return n, err
	}
	return n, l.tags.put(ctx, tx, i.AccountID, "network-interface", n.ID)
}

// chooseAddresses gives n the private addresses that the request left open.
func chooseAddresses(ctx context.Context, tx store.Tx, p *nicPlan, n *cloud.Interface) (err error) {
	if !n.PrivateIP.IsValid() {
		if n.PrivateIP, err = tx.FreePrivateIP(ctx, p.subnet); err != nil {
			return err
		}
	}
	taken := map[netip.Addr]bool{n.PrivateIP: true}
	for _, ip := range n.Secondary {
		if taken[ip] {
			return cloud.Faultf("InvalidParameterValue", "The address %s was specified twice.", ip)
		}
		taken[ip] = true
	}
	for tries := 0; len(n.Secondary) < len(p.secondary)+p.more; tries++ {
		ip, err := tx.FreePrivateIP(ctx, p.subnet)
		if err != nil {
			return err
		}
		if tries > 100*p.more { // only our own fresh choices are left
			return cloud.Faultf("InsufficientFreeAddressesInSubnet", "Subnet '%s' (%s) has too few free addresses left.", p.subnet.ID, p.subnet.CIDR)
		}
		if !taken[ip] {
			taken[ip] = true
			n.Secondary = append(n.Secondary, ip)
		}
	}
	return nil
}

// addDisk makes a volume of instance i.
func (s *Server) addDisk(ctx context.Context, tx store.Tx, l *launch, i *cloud.Instance, d *diskPlan) error {
	v := d.vol
	v.ID, v.AccountID, v.State, v.Zone = cloud.NewID("vol"), i.AccountID, cloud.VolumeInUse, i.Zone
	if s.Cfg.Pool == cloud.PoolNetwork {
		v.Pool, v.Holder, v.Epoch = cloud.PoolNetwork, i.Node, 1
	} else {
		v.Pool, v.Node = cloud.PoolNode, i.Node
	}
	v.InstanceID, v.Device, v.Attached, v.Created = i.ID, d.device, tx.Now(), tx.Now()
	if err := tx.PutVolume(ctx, v); err != nil {
		return err
	}
	i.Volumes = append(i.Volumes, cloud.Mapping{Device: v.Device, VolumeID: v.ID, Attached: v.Attached, DeleteOnTermination: v.DeleteOnTermination})
	return l.tags.put(ctx, tx, i.AccountID, "volume", v.ID)
}

// stateChange returns a line of the answers of start, stop and terminate.
func stateChange(id string, was, is cloud.InstanceState) wire.InstanceStateChange {
	return wire.InstanceStateChange{InstanceId: &id, PreviousState: wireState(was), CurrentState: wireState(is)}
}
