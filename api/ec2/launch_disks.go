package ec2

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// A diskPlan is a volume that each instance of a launch gets.
type diskPlan struct {
	device string
	vol    cloud.Volume // without ids and times
}

// Defaults and bounds of EC2's volume types ("Amazon EBS volume types"): size
// in GiB, IOPS, IOPS for each GiB, throughput in MiB/s.
var volumeTypes = map[string]struct{ minGiB, maxGiB, minIOPS, maxIOPS, perGiB, minThroughput, maxThroughput int64 }{
	"gp3":      {1, 65536, 3000, 80000, 500, 125, 2000},
	"gp2":      {1, 16384, 0, 0, 0, 0, 0},
	"io1":      {4, 16384, 100, 64000, 50, 0, 0},
	"io2":      {4, 65536, 100, 256000, 1000, 0, 0},
	"st1":      {125, 16384, 0, 0, 0, 0, 0},
	"sc1":      {125, 16384, 0, 0, 0, 0, 0},
	"standard": {1, 1024, 0, 0, 0, 0, 0},
}

// throughputIOPS is how many IOPS a gp3 volume needs for each MiB/s.
const throughputIOPS = 4

// planDisks returns the volumes of an instance of image m, the root first:
// what the image maps, changed by what the request maps.
func (l *launch) planDisks(ctx context.Context, tx store.Tx, account string, m cloud.Image) ([]diskPlan, error) {
	root := diskPlan{device: m.RootDevice, vol: cloud.Volume{
		SizeGiB: giB(m.SizeBytes), Type: "gp3", ImageID: m.ID, Hash: m.Hash, DeleteOnTermination: true}}
	disks := []diskPlan{root}
	for _, im := range m.Mappings {
		switch {
		case im.Device == m.RootDevice:
			disks[0].vol.SizeGiB = max(im.SizeGiB, root.vol.SizeGiB)
			disks[0].vol.SnapshotID = im.SnapshotID
			disks[0].vol.DeleteOnTermination = im.DeleteOnTermination
			if im.VolumeType != "" {
				disks[0].vol.Type, disks[0].vol.IOPS, disks[0].vol.Throughput = im.VolumeType, im.IOPS, im.Throughput
			}
			continue
		case im.NoDevice || im.Virtual != "": // no instance store here
			continue
		}
		d, err := planDisk(ctx, tx, m.AccountID, im.Device, cloud.Volume{SizeGiB: im.SizeGiB, SnapshotID: im.SnapshotID,
			Type: im.VolumeType, IOPS: im.IOPS, Throughput: im.Throughput, DeleteOnTermination: im.DeleteOnTermination})
		if err != nil {
			return nil, err
		}
		disks = append(disks, d)
	}
	seen := map[string]bool{}
	for i := range l.disks {
		in := &l.disks[i]
		device := query.Val(in.DeviceName)
		if err := checkDevice(device); err != nil {
			return nil, err
		}
		if seen[device] {
			return nil, badMapping("%s: device name already in use", device)
		}
		seen[device] = true
		var err error
		if disks, err = mapDisk(ctx, tx, account, disks, in); err != nil {
			return nil, err
		}
	}
	if len(disks) > maxDisks {
		return nil, cloud.Faultf("AttachmentLimitExceeded", "An instance has up to %d volumes; you asked for %d.", maxDisks, len(disks))
	}
	for i := range disks {
		if err := checkVolume(disks[i].device, &disks[i].vol); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(disks[1:], func(a, b diskPlan) int {
		if a.device < b.device {
			return -1
		}
		return 1
	})
	return disks, nil
}

// mapDisk applies one BlockDeviceMapping of a request to disks.
func mapDisk(ctx context.Context, tx store.Tx, account string, disks []diskPlan, in *wire.BlockDeviceMapping) ([]diskPlan, error) {
	device := *in.DeviceName
	at := slices.IndexFunc(disks, func(d diskPlan) bool { return sameDevice(d.device, device) })
	switch {
	case in.NoDevice != nil && at == 0:
		return nil, badMapping("%s: the root device cannot be left out", device)
	case in.NoDevice != nil:
		return slices.DeleteFunc(disks, func(d diskPlan) bool { return sameDevice(d.device, device) }), nil
	case query.Val(in.VirtualName) != "": // ignored where there is no instance store, as EC2 does
		return disks, nil
	case in.Ebs == nil:
		return nil, missing("BlockDeviceMapping.Ebs")
	}
	if err := refuseEBS(in.Ebs); err != nil {
		return nil, err
	}
	vol := cloud.Volume{DeleteOnTermination: true}
	if at >= 0 {
		vol = disks[at].vol
	}
	if snap := query.Val(in.Ebs.SnapshotId); snap != "" && snap != vol.SnapshotID {
		if at == 0 {
			return nil, badMapping("the snapshotId of the root device %s cannot be changed; it is that of the image", device)
		}
		vol.SnapshotID, vol.Hash, vol.SizeGiB = snap, "", 0
	}
	least := vol.SizeGiB
	overlay(&vol, in.Ebs)
	if at >= 0 && vol.SnapshotID == disks[at].vol.SnapshotID {
		if vol.SizeGiB < least {
			return nil, badMapping("Volume of size %dGB is smaller than the image's, expect size >= %dGB", vol.SizeGiB, least)
		}
		disks[at].vol = vol
		return disks, nil
	}
	d, err := planDisk(ctx, tx, account, device, vol)
	switch {
	case err != nil:
		return nil, err
	case at >= 0:
		disks[at] = d
		return disks, nil
	}
	return append(disks, d), nil
}

// overlay puts what an Ebs block says over vol.
func overlay(vol *cloud.Volume, in *wire.EbsBlockDevice) {
	if in.VolumeSize != nil {
		vol.SizeGiB = *in.VolumeSize
	}
	if in.VolumeType != nil {
		vol.Type, vol.IOPS, vol.Throughput = *in.VolumeType, 0, 0
	}
	if in.Iops != nil {
		vol.IOPS = *in.Iops
	}
	if in.Throughput != nil {
		vol.Throughput = *in.Throughput
	}
	if in.DeleteOnTermination != nil {
		vol.DeleteOnTermination = *in.DeleteOnTermination
	}
}

// planDisk returns a volume that is blank or made from a snapshot of account.
func planDisk(ctx context.Context, tx store.Tx, account, device string, vol cloud.Volume) (diskPlan, error) {
	if vol.SnapshotID == "" {
		if vol.SizeGiB == 0 {
			return diskPlan{}, cloud.Faultf("MissingParameter", "The device %s needs a volumeSize or a snapshotId.", device)
		}
		return diskPlan{device, vol}, nil
	}
	if err := cloud.CheckID("snap", vol.SnapshotID); err != nil {
		return diskPlan{}, err
	}
	snap, err := tx.Snapshot(ctx, account, vol.SnapshotID)
	switch {
	case err != nil:
		return diskPlan{}, err
	case snap.State != "completed":
		return diskPlan{}, cloud.Faultf("IncorrectState", "The snapshot '%s' is %s, not completed.", snap.ID, snap.State)
	case vol.SizeGiB == 0:
		vol.SizeGiB = snap.SizeGiB
	case vol.SizeGiB < snap.SizeGiB:
		return diskPlan{}, badMapping("Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", vol.SizeGiB, snap.ID, snap.SizeGiB)
	}
	vol.Hash = snap.Hash
	return diskPlan{device, vol}, nil
}

// checkVolume fills in defaults of the volume's type and checks its bounds.
func checkVolume(device string, v *cloud.Volume) error {
	if v.Type == "" {
		v.Type = "gp3"
	}
	t, ok := volumeTypes[v.Type]
	switch {
	case !ok:
		return invalid("volumeType", v.Type, "EC2 has no such volume type.")
	case v.SizeGiB < t.minGiB || v.SizeGiB > t.maxGiB:
		return badMapping("%s: the size of a %s volume is %d to %d GiB, not %d", device, v.Type, t.minGiB, t.maxGiB, v.SizeGiB)
	case v.Throughput != 0 && v.Type != "gp3":
		return cloud.Faultf("InvalidParameterCombination", "The parameter throughput is for gp3 volumes only; %s is %s.", device, v.Type)
	case v.IOPS != 0 && t.maxIOPS == 0:
		return cloud.Faultf("InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", v.Type)
	case v.IOPS == 0 && (v.Type == "io1" || v.Type == "io2"):
		return missing("Ebs.Iops")
	}
	switch {
	case v.Type == "gp2": // EC2 tells the baseline it gives by size
		v.IOPS = min(max(3*v.SizeGiB, 100), 16000)
	case v.IOPS == 0:
		v.IOPS = t.minIOPS
	case v.IOPS < t.minIOPS || v.IOPS > t.maxIOPS:
		return cloud.Faultf("InvalidParameterValue", "The IOPS of a %s volume are %d to %d, not %d.", v.Type, t.minIOPS, t.maxIOPS, v.IOPS)
	case v.IOPS > max(t.perGiB*v.SizeGiB, t.minIOPS):
		return cloud.Faultf("InvalidParameterValue", "Iops to volume size ratio is too high for %s; %s volumes have up to %d for each GiB, %d for %d GiB.", device, v.Type, t.perGiB, t.perGiB*v.SizeGiB, v.SizeGiB)
	}
	if v.Throughput == 0 {
		v.Throughput = t.minThroughput
	}
	if v.Throughput < t.minThroughput || v.Throughput > t.maxThroughput {
		return cloud.Faultf("InvalidParameterValue", "The throughput of a %s volume is %d to %d MiB/s, not %d.", v.Type, t.minThroughput, t.maxThroughput, v.Throughput)
	}
	if v.Throughput*throughputIOPS > v.IOPS && v.Throughput > t.minThroughput {
		return cloud.Faultf("InvalidParameterValue", "Throughput (MiBps) to iops ratio is too high for %s; %d MiB/s need %d IOPS, and it has %d.", device, v.Throughput, v.Throughput*throughputIOPS, v.IOPS)
	}
	return nil
}

func refuseEBS(in *wire.EbsBlockDevice) error {
	switch {
	case query.Val(in.Encrypted) || query.Val(in.KmsKeyId) != "":
		return unsupported("An encrypted volume")
	case query.Val(in.OutpostArn) != "":
		return unsupported("Ebs.OutpostArn")
	case in.VolumeInitializationRate != nil:
		return unsupported("Ebs.VolumeInitializationRate")
	case query.Val(in.AvailabilityZone) != "" || query.Val(in.AvailabilityZoneId) != "":
		return unsupported("A zone of a volume's own (Ebs.AvailabilityZone) in a launch")
	case query.Val(in.EbsCardIndex) != 0:
		return unsupported("An Ebs.EbsCardIndex other than 0")
	}
	return nil
}

var deviceName = regexp.MustCompile(`^(/dev/)?(sd[a-z][0-9]{0,2}|xvd[a-z]{1,2}[0-9]{0,2}|hd[a-z][0-9]{0,2}|vd[a-z][0-9]{0,2})$`)

func checkDevice(name string) error {
	if name == "" {
		return missing("BlockDeviceMapping.DeviceName")
	}
	if !deviceName.MatchString(name) {
		return cloud.Faultf("InvalidParameterValue", "Invalid device name %s; /dev/sdf to /dev/sdp are usual.", clip(name))
	}
	return nil
}

// sameDevice reports whether two names mean one device: /dev/sda and /dev/sda1
// are both the whole disk here.
func sameDevice(a, b string) bool { return a == b || a == b+"1" || b == a+"1" }

func badMapping(format string, args ...any) error {
	return cloud.Faultf("InvalidBlockDeviceMapping", "%s", fmt.Sprintf(format, args...))
}

// giB returns bytes in GiB, rounded up, at least 1.
func giB(bytes int64) int64 { return max((bytes+1<<30-1)>>30, 1) }
