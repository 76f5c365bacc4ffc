package ec2

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// A tagged is a noun with the caller's tags on it.
type tagged[T any] struct {
	v    T
	tags []cloud.Tag
}

func (t tagged[T]) tagMap() map[string]string {
	m := make(map[string]string, len(t.tags))
	for _, tag := range t.tags {
		m[tag.Key] = tag.Value
	}
	return m
}

// withTags joins nouns with their tags, sorted by id and each once.
func withTags[T any](list []T, id func(*T) string, tags map[string][]cloud.Tag) []tagged[T] {
	out := make([]tagged[T], len(list))
	for i := range list {
		out[i] = tagged[T]{list[i], tags[id(&list[i])]}
	}
	slices.SortFunc(out, func(a, b tagged[T]) int { return strings.Compare(id(&a.v), id(&b.v)) })
	return slices.CompactFunc(out, func(a, b tagged[T]) bool { return id(&a.v) == id(&b.v) })
}

// field makes a filter of a noun's value; "" means that it has none.
func field[T any](get func(*T) string) func(tagged[T]) []string {
	return func(t tagged[T]) []string { return some(get(&t.v)) }
}

func volumeID(v *cloud.Volume) string { return v.ID }

// describeVolumes tells about volumes, those that are instances' roots among them.
func (s *Server) describeVolumes(ctx context.Context, in *wire.DescribeVolumesInput) (*wire.DescribeVolumesOutput, error) {
	if len(in.VolumeIds) > 0 && in.MaxResults != nil {
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameter volumeIds cannot be used with the parameter maxResults")
	}
	match, err := query.Compile(wire.Filters(in.Filters), s.volumeFilters(), tagged[cloud.Volume].tagMap)
	if err != nil {
		return nil, err
	}
	if err := checkIDs("vol", in.VolumeIds...); err != nil {
		return nil, err
	}
	var all []tagged[cloud.Volume]
	err = s.DB.Read(ctx, func(rx store.Rx) error {
		list, err := rx.Volumes(ctx, account(ctx), in.VolumeIds...)
		if err != nil {
			return err
		}
		tags, err := rx.TagsByResource(ctx, account(ctx), "vol-", in.VolumeIds...)
		all = withTags(list, volumeID, tags)
		return err
	})
	if err != nil {
		return nil, err
	}
	page, next, err := query.Page(ctx, keep(all, match), func(v tagged[cloud.Volume]) string { return v.v.ID }, in.MaxResults, in.NextToken, query.Thousand)
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeVolumesOutput{NextToken: next, Volumes: make([]wire.Volume, len(page))}
	for n := range page {
		out.Volumes[n] = s.wireVolume(&page[n].v, page[n].tags)
	}
	return out, nil
}

// wireVolume returns a volume as the API shows it. Clients want snapshotId and
// multiAttachEnabled always (Ansible's amazon.aws.ec2_vol).
func (s *Server) wireVolume(v *cloud.Volume, tags []cloud.Tag) wire.Volume {
	w := wire.Volume{
		VolumeId:           &v.ID,
		Size:               &v.SizeGiB,
		SnapshotId:         &v.SnapshotID,
		AvailabilityZone:   &v.Zone,
		AvailabilityZoneId: query.Ptr(cloud.ZoneID(s.Cfg.Region, v.Zone)),
		State:              query.Ptr(string(v.State)),
		CreateTime:         &v.Created,
		VolumeType:         &v.Type,
		Iops:               opt(v.IOPS),
		Throughput:         opt(v.Throughput),
		Encrypted:          query.Ptr(false),
		MultiAttachEnabled: query.Ptr(false),
		Tags:               wireTags(tags),
	}
	if v.InstanceID != "" {
		w.Attachments = []wire.VolumeAttachment{{VolumeId: &v.ID, InstanceId: &v.InstanceID, Device: &v.Device, State: query.Ptr("attached"),
			AttachTime: &v.Attached, DeleteOnTermination: &v.DeleteOnTermination}}
	}
	return w
}

func (s *Server) volumeFilters() query.Fields[tagged[cloud.Volume]] {
	type vol = cloud.Volume
	attached := func(get func(*vol) string) func(tagged[vol]) []string {
		return func(t tagged[vol]) []string {
			if t.v.InstanceID == "" {
				return nil
			}
			return one(get(&t.v))
		}
	}
	no := field(func(*vol) string { return "false" })
	return query.Fields[tagged[vol]]{
		"attachment.attach-time":           attached(func(v *vol) string { return instant(v.Attached)[0] }),
		"attachment.delete-on-termination": attached(func(v *vol) string { return strconv.FormatBool(v.DeleteOnTermination) }),
		"attachment.device":                attached(func(v *vol) string { return v.Device }),
		"attachment.instance-id":           attached(func(v *vol) string { return v.InstanceID }),
		"attachment.status":                attached(func(*vol) string { return "attached" }),
		"availability-zone":                field(func(v *vol) string { return v.Zone }),
		"availability-zone-id":             field(func(v *vol) string { return cloud.ZoneID(s.Cfg.Region, v.Zone) }),
		"create-time":                      field(func(v *vol) string { return instant(v.Created)[0] }),
		"encrypted":                        no,
		"fast-restored":                    no,
		"multi-attach-enabled":             no,
		"operator.managed":                 no,
		"operator.principal":               field(func(*vol) string { return "" }),
		"size":                             field(func(v *vol) string { return number(v.SizeGiB)[0] }),
		"snapshot-id":                      field(func(v *vol) string { return v.SnapshotID }),
		"status":                           field(func(v *vol) string { return string(v.State) }),
		"volume-id":                        field(volumeID),
		"volume-type":                      field(func(v *vol) string { return v.Type }),
	}
}

func snapshotID(v *cloud.Snapshot) string { return v.ID }

// describeSnapshots tells about the caller's snapshots.
func (s *Server) describeSnapshots(ctx context.Context, in *wire.DescribeSnapshotsInput) (*wire.DescribeSnapshotsOutput, error) {
	if len(in.SnapshotIds) > 0 && in.MaxResults != nil {
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameter snapshotIds cannot be used with the parameter maxResults")
	}
	match, err := query.Compile(wire.Filters(in.Filters), snapshotFilters, tagged[cloud.Snapshot].tagMap)
	if err != nil {
		return nil, err
	}
	if err := checkIDs("snap", in.SnapshotIds...); err != nil {
		return nil, err
	}
	if err := checkAccounts(in.OwnerIds, "self", "amazon"); err != nil {
		return nil, err
	}
	if err := checkAccounts(in.RestorableByUserIds, "self", "all"); err != nil {
		return nil, err
	}
	acct := account(ctx)
	mine := func(list []string) bool {
		return len(list) == 0 || slices.Contains(list, "self") || slices.Contains(list, acct)
	}
	var all []tagged[cloud.Snapshot]
	err = s.DB.Read(ctx, func(rx store.Rx) error {
		list, err := rx.Snapshots(ctx, acct, in.SnapshotIds...)
		if err != nil {
			return err
		}
		tags, err := rx.TagsByResource(ctx, acct, "snap-", in.SnapshotIds...)
		if mine(in.OwnerIds) && mine(in.RestorableByUserIds) { // snapshots are not shared
			all = withTags(list, snapshotID, tags)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	page, next, err := query.Page(ctx, keep(all, match), func(v tagged[cloud.Snapshot]) string { return v.v.ID }, in.MaxResults, in.NextToken, query.Thousand)
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeSnapshotsOutput{NextToken: next}
	for n := range page {
		v := &page[n].v
		out.Snapshots = append(out.Snapshots, wire.Snapshot{SnapshotId: &v.ID, VolumeId: query.Ptr("vol-ffffffff"), // EC2's for a snapshot of no volume
			State: &v.State, StartTime: &v.Created, Progress: query.Ptr(progress(v)), OwnerId: &v.AccountID, VolumeSize: &v.SizeGiB,
			Description: &v.Description, Encrypted: query.Ptr(false), StorageTier: query.Ptr("standard"), Tags: wireTags(page[n].tags)})
	}
	return out, nil
}

func progress(v *cloud.Snapshot) string {
	if v.State == "completed" {
		return "100%"
	}
	return "0%"
}

var snapshotFilters = query.Fields[tagged[cloud.Snapshot]]{
	"description":   field(func(v *cloud.Snapshot) string { return v.Description }),
	"encrypted":     field(func(*cloud.Snapshot) string { return "false" }),
	"owner-alias":   field(func(*cloud.Snapshot) string { return "" }),
	"owner-id":      field(func(v *cloud.Snapshot) string { return v.AccountID }),
	"progress":      field(progress),
	"snapshot-id":   field(snapshotID),
	"start-time":    field(func(v *cloud.Snapshot) string { return instant(v.Created)[0] }),
	"status":        field(func(v *cloud.Snapshot) string { return v.State }),
	"storage-tier":  field(func(*cloud.Snapshot) string { return "standard" }),
	"transfer-type": field(func(*cloud.Snapshot) string { return "" }), // of copies
	"volume-id":     field(func(*cloud.Snapshot) string { return "vol-ffffffff" }),
	"volume-size":   field(func(v *cloud.Snapshot) string { return number(v.SizeGiB)[0] }),
}
