package ec2

import (
	"context"
	"slices"
	"time"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// runInstances places instances and writes all their rows; control and the
// nodes do the rest.
func (s *Server) runInstances(ctx context.Context, in *wire.RunInstancesInput) (*wire.RunInstancesOutput, error) {
	accepted := cloud.Event{Kind: cloud.EventAccepted, At: time.Now().UTC(), Boot: 1}
	l, err := s.newLaunch(in)
	if err != nil {
		return nil, err
	}
	l.accepted = accepted
	var items []*instanceItem
	err = s.DB.Write(ctx, func(tx store.Tx) error {
		acct, hash := account(ctx), query.RequestHash(ctx)
		if l.token != "" {
			id, found, err := tx.Idempotent(ctx, acct, "RunInstances", l.token, hash)
			if err != nil {
				return err
			}
			if found {
				items, err = s.reservation(ctx, tx, acct, id, l.token)
				return err
			}
		}
		if items, err = s.launch(ctx, tx, acct, l); err != nil || l.token == "" {
			return err
		}
		return tx.KeepToken(ctx, acct, "RunInstances", l.token, hash, items[0].ReservationID)
	})
	if err != nil {
		return nil, err
	}
	out := &wire.RunInstancesOutput{OwnerId: query.Ptr(account(ctx))}
	for _, it := range items {
		out.ReservationId = &it.ReservationID
		out.Instances = append(out.Instances, s.wireInstance(it))
	}
	return out, nil
}

// reservation returns what an earlier request with the same token started, as
// it is now. When nothing of it is left the caller has to choose another token
// (EC2 docs: "Error codes", IdempotentInstanceTerminated).
func (s *Server) reservation(ctx context.Context, tx store.Tx, account, id, token string) ([]*instanceItem, error) {
	list, err := tx.InstancesOfReservation(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(list, func(i cloud.Instance) bool { return i.State != cloud.Terminated }) {
		return nil, cloud.Faultf("IdempotentInstanceTerminated", "The client token '%s' was used for a launch (%s) whose instances are terminated.", token, id)
	}
	names := groupNames{}
	items := make([]*instanceItem, len(list))
	for n, i := range list {
		if items[n], err = s.readItem(ctx, tx.Rx, i, names); err != nil {
			return nil, err
		}
	}
	sortItems(items)
	return items, nil
}

// launch starts as many instances as fit, up to l.max.
func (s *Server) launch(ctx context.Context, tx store.Tx, account string, l *launch) ([]*instanceItem, error) {
	m, err := l.resolve(ctx, tx, account)
	if err != nil {
		return nil, err
	}
	disks, err := l.planDisks(ctx, tx, account, m)
	if err != nil {
		return nil, err
	}
	subs, err := l.subnetsFor(ctx, tx, account)
	if err != nil {
		return nil, err
	}
	sub, places, err := s.place(ctx, tx, l, m, disks, subs)
	if err != nil {
		return nil, err
	}
	if l.public, err = s.publicRange(ctx, tx.Rx, sub.Zone); err != nil {
		return nil, err
	}
	nics, err := l.planNICs(ctx, tx, account, sub)
	if err != nil {
		return nil, err
	}
	count, err := l.addressesFor(ctx, tx, nics, len(places))
	if err != nil {
		return nil, err
	}
	l.base.AccountID, l.base.ReservationID = account, cloud.NewID("r")
	l.base.State, l.base.Since, l.base.Launched, l.base.Created, l.base.StatusSince = cloud.Pending, tx.Now(), tx.Now(), tx.Now(), tx.Now()
	l.base.VpcID, l.base.SubnetID, l.base.Zone, l.base.Boot = sub.VpcID, nics[0].subnet.ID, sub.Zone, 1
	names := groupNames{}
	var items []*instanceItem
	for n, p := range places[:count] {
		it, err := s.addInstance(ctx, tx, l, int64(n), p, disks, nics, names)
		if cloud.FaultCode(err) == "InsufficientAddressCapacity" && n >= l.min {
			break
		}
		if err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, tx.Audit(ctx)
}

// resolve looks up the images and the key that the request names.
func (l *launch) resolve(ctx context.Context, tx store.Tx, account string) (cloud.Image, error) {
	m, err := tx.Image(ctx, account, l.imageID)
	switch {
	case err != nil:
		return m, err
	case m.State != "available":
		return m, cloud.Faultf("InvalidAMIID.Unavailable", "The image ID '%s' is not available; it is %s.", m.ID, m.State)
	}
	b := &l.base
	b.ImageID, b.Arch, b.RootDevice, b.UEFI, b.EnaSupport = m.ID, m.Arch, m.RootDevice, m.UEFI, m.EnaSupport
	b.KernelID, b.RamdiskID = m.KernelID, m.RamdiskID
	kernelFor, ramdiskFor := m.AccountID, m.AccountID // what an image brings comes with it, as its snapshots do
	if l.kernelID != "" {
		b.KernelID, kernelFor = l.kernelID, account
	}
	if l.ramdiskID != "" {
		b.RamdiskID, ramdiskFor = l.ramdiskID, account
	}
	if b.KernelHash, err = bootImage(ctx, tx.Rx, kernelFor, "kernel", b.KernelID); err != nil {
		return m, err
	}
	if b.RamdiskHash, err = bootImage(ctx, tx.Rx, ramdiskFor, "ramdisk", b.RamdiskID); err != nil {
		return m, err
	}
	if l.keyName != "" {
		k, err := tx.KeyPairByName(ctx, account, l.keyName)
		if err != nil {
			return m, err
		}
		b.PublicKey = k.PublicKey
	}
	b.Metadata = cloud.DefaultMetadataOptions
	if m.ImdsSupport == "v2.0" { // EC2 docs: "Configure the AMI" for IMDSv2
		b.Metadata.Tokens, b.Metadata.HopLimit = "required", 2
	}
	if l.metadata != nil {
		if err := setMetadata(&b.Metadata, l.metadata); err != nil {
			return m, err
		}
	}
	return m, checkMetadataKeys(b.Metadata, l.tags["instance"])
}

// bootImage returns the content of the kernel or ramdisk image id, "" for none.
func bootImage(ctx context.Context, rx store.Rx, account, kind, id string) (string, error) {
	if id == "" {
		return "", nil
	}
	if err := checkIDs(map[string]string{"kernel": "aki", "ramdisk": "ari"}[kind], id); err != nil {
		return "", err
	}
	m, err := rx.Image(ctx, account, id)
	switch {
	case err != nil:
		return "", err
	case m.Type != kind || m.State != "available":
		return "", cloud.Faultf("InvalidAMIID.Unavailable", "The image ID '%s' is not an available %s image.", id, kind)
	}
	return m.Hash, nil
}

// addressesFor returns for how many instances, up to n, the subnets have addresses.
func (l *launch) addressesFor(ctx context.Context, tx store.Tx, nics []nicPlan, n int) (int, error) {
	if n == 1 {
		return 1, nil // FreePrivateIP tells
	}
	want := map[string]int64{} // subnet → addresses of one instance in it
	for _, p := range nics {
		want[p.subnet.ID] += int64(1 + len(p.secondary) + p.more)
	}
	for _, p := range nics {
		free, err := tx.FreePrivateIPs(ctx, p.subnet)
		if err != nil {
			return 0, err
		}
		each := want[p.subnet.ID]
		n = min(n, int(free/each))
		if n < l.min {
			return 0, cloud.Faultf("InsufficientFreeAddressesInSubnet", "Subnet '%s' (%s) has %d free addresses; %d are missing for %d instances.",
				p.subnet.ID, p.subnet.CIDR, free, each*int64(l.min)-free, l.min)
		}
	}
	return n, nil
}
