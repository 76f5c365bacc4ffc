package ec2

import (
	"context"
	"slices"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// registerImage makes an AMI of a snapshot.
func (s *Server) registerImage(ctx context.Context, in *wire.RegisterImageInput) (*wire.RegisterImageOutput, error) {
	m, err := newImage(in)
	if err != nil {
		return nil, err
	}
	tags, err := readTagSpecifications(in.TagSpecifications, "image")
	if err != nil {
		return nil, err
	}
	err = s.DB.Write(ctx, func(tx store.Tx) error {
		m.ID, m.AccountID, m.Created = cloud.NewID("ami"), account(ctx), tx.Now()
		m.Source = m.AccountID + "/" + m.Name
		if err := fillImage(ctx, tx, &m, in.BlockDeviceMappings); err != nil {
			return err
		}
		if err := tx.PutImage(ctx, m); err != nil {
			return err
		}
		if err := tags.put(ctx, tx, m.AccountID, "image", m.ID); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return &wire.RegisterImageOutput{ImageId: &m.ID}, err
}

// newImage returns what the request says of the image without the store.
func newImage(in *wire.RegisterImageInput) (m cloud.Image, err error) {
	m = cloud.Image{Name: query.Val(in.Name), Description: query.Val(in.Description), Type: "machine", State: "available", Arch: "x86_64",
		RootDevice: query.Val(in.RootDeviceName), KernelID: query.Val(in.KernelId), RamdiskID: query.Val(in.RamdiskId), EnaSupport: query.Val(in.EnaSupport)}
	switch {
	case query.Val(in.ImageLocation) != "":
		return m, unsupported("ImageLocation (an image in object storage)")
	case m.Name == "":
		return m, missing("Name")
	case m.Check() != nil:
		return m, m.Check()
	case len(in.BillingProducts) > 0:
		return m, unsupported("BillingProduct")
	case query.Val(in.SriovNetSupport) != "":
		return m, unsupported("SriovNetSupport")
	case query.Val(in.TpmSupport) != "":
		return m, unsupported("TpmSupport")
	case query.Val(in.UefiData) != "":
		return m, unsupported("UefiData")
	}
	switch v := query.Val(in.Architecture); v {
	case "", "x86_64", "arm64":
		if v != "" {
			m.Arch = v
		}
	default:
		return m, unsupported("The architecture '" + clip(v) + "'")
	}
	switch v := query.Val(in.VirtualizationType); v {
	case "", "hvm":
	default:
		return m, unsupported("The virtualization type '" + clip(v) + "'")
	}
	switch v := query.Val(in.BootMode); v {
	case "", "legacy-bios":
	case "uefi", "uefi-preferred":
		m.UEFI = true
	default:
		return m, invalid("BootMode", v, "It is legacy-bios, uefi or uefi-preferred.")
	}
	switch v := query.Val(in.ImdsSupport); v {
	case "", "v2.0":
		m.ImdsSupport = v
	default:
		return m, invalid("ImdsSupport", v, "It is v2.0.")
	}
	if m.RootDevice == "" {
		m.RootDevice = "/dev/sda1"
		for _, b := range in.BlockDeviceMappings {
			if b.Ebs != nil && query.Val(b.Ebs.SnapshotId) != "" {
				m.RootDevice = query.Val(b.DeviceName)
				break
			}
		}
	}
	return m, checkDevice(m.RootDevice)
}

// fillImage resolves what the image is made of, and checks that its name is free.
func fillImage(ctx context.Context, tx store.Tx, m *cloud.Image, mappings []wire.BlockDeviceMapping) error {
	all, err := tx.Images(ctx, m.AccountID)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(all, func(o cloud.Image) bool { return o.AccountID == m.AccountID && o.Name == m.Name }); i >= 0 {
		return cloud.Faultf("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", m.Name, all[i].ID)
	}
	if _, err := bootImage(ctx, tx.Rx, m.AccountID, "kernel", m.KernelID); err != nil {
		return err
	}
	if _, err := bootImage(ctx, tx.Rx, m.AccountID, "ramdisk", m.RamdiskID); err != nil {
		return err
	}
	m.Mappings = nil
	for i := range mappings {
		im, snap, err := imageMapping(ctx, tx, m.AccountID, &mappings[i])
		if err != nil {
			return err
		}
		if slices.ContainsFunc(m.Mappings, func(o cloud.ImageMapping) bool { return sameDevice(o.Device, im.Device) }) {
			return badMapping("%s: device name already in use", im.Device)
		}
		if im.Device == m.RootDevice {
			m.Hash, m.SizeBytes = snap.Hash, snap.SizeBytes
		}
		m.Mappings = append(m.Mappings, im)
	}
	if m.Hash == "" {
		return badMapping("the root device %s needs a mapping with an Ebs.SnapshotId", m.RootDevice)
	}
	return nil
}

// imageMapping reads one BlockDeviceMapping of an image; snap is the zero
// Snapshot when it names none.
func imageMapping(ctx context.Context, tx store.Tx, account string, in *wire.BlockDeviceMapping) (im cloud.ImageMapping, snap cloud.Snapshot, err error) {
	im = cloud.ImageMapping{Device: query.Val(in.DeviceName), NoDevice: in.NoDevice != nil, Virtual: query.Val(in.VirtualName)}
	if err := checkDevice(im.Device); err != nil || im.NoDevice || im.Virtual != "" {
		return im, snap, err
	}
	if in.Ebs == nil {
		return im, snap, missing("BlockDeviceMapping.Ebs")
	}
	if err := refuseEBS(in.Ebs); err != nil {
		return im, snap, err
	}
	vol := cloud.Volume{DeleteOnTermination: true, SnapshotID: query.Val(in.Ebs.SnapshotId)}
	overlay(&vol, in.Ebs)
	d, err := planDisk(ctx, tx, account, im.Device, vol)
	if err != nil {
		return im, snap, err
	}
	if vol.SnapshotID != "" {
		if snap, err = tx.Snapshot(ctx, account, vol.SnapshotID); err != nil {
			return im, snap, err
		}
	}
	if err := checkVolume(im.Device, &d.vol); err != nil {
		return im, snap, err
	}
	im.SnapshotID, im.SizeGiB, im.DeleteOnTermination = vol.SnapshotID, d.vol.SizeGiB, d.vol.DeleteOnTermination
	im.VolumeType, im.IOPS, im.Throughput = d.vol.Type, vol.IOPS, vol.Throughput
	return im, snap, nil
}

// deregisterImage forgets an image. Instances and snapshots stay.
func (s *Server) deregisterImage(ctx context.Context, in *wire.DeregisterImageInput) (*wire.DeregisterImageOutput, error) {
	if query.Val(in.DeleteAssociatedSnapshots) {
		return nil, unsupported("DeleteAssociatedSnapshots=true")
	}
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		m, err := ownImage(ctx, tx.Rx, query.Val(in.ImageId))
		if err != nil {
			return err
		}
		if err := tx.DeleteImage(ctx, m); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return &wire.DeregisterImageOutput{Return: query.Ptr(true)}, err
}

// ownImage returns an image that the caller owns.
func ownImage(ctx context.Context, rx store.Rx, id string) (cloud.Image, error) {
	if id == "" {
		return cloud.Image{}, missing("ImageId")
	}
	if err := checkImageIDs(id); err != nil {
		return cloud.Image{}, err
	}
	m, err := rx.Image(ctx, account(ctx), id)
	if err == nil && m.AccountID != account(ctx) {
		err = cloud.Faultf("AuthFailure", "Not authorized for image:%s; it belongs to another account.", id)
	}
	return m, err
}

// checkImageIDs is checkIDs for images, which come in three kinds.
func checkImageIDs(ids ...string) error {
	for _, id := range ids {
		if cloud.CheckID("aki", id) == nil || cloud.CheckID("ari", id) == nil {
			continue
		}
		if err := cloud.CheckID("ami", id); err != nil {
			return err
		}
	}
	return nil
}
