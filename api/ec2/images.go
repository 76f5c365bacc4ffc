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

func imageID(m *cloud.Image) string { return m.ID }

// describeImages tells about the images that the caller may launch.
func (s *Server) describeImages(ctx context.Context, in *wire.DescribeImagesInput) (*wire.DescribeImagesOutput, error) {
	match, err := query.Compile(wire.Filters(in.Filters), imageFilters, tagged[cloud.Image].tagMap)
	if err != nil {
		return nil, err
	}
	if err := checkImageIDs(in.ImageIds...); err != nil {
		return nil, err
	}
	if err := checkAccounts(in.Owners, "self", "amazon", "aws-marketplace", "aws-backup-vault"); err != nil {
		return nil, err
	}
	if err := checkAccounts(in.ExecutableUsers, "self", "all"); err != nil {
		return nil, err
	}
	acct := account(ctx)
	var all []tagged[cloud.Image]
	err = s.DB.Read(ctx, func(rx store.Rx) error {
		list, err := rx.Images(ctx, acct, in.ImageIds...)
		if err != nil {
			return err
		}
		list = keep(list, func(m cloud.Image) bool {
			return ownedBy(&m, acct, in.Owners) && executableBy(&m, acct, in.ExecutableUsers)
		})
		tags, err := rx.TagsByResource(ctx, acct, "a", in.ImageIds...) // ami-, aki-, ari-
		all = withTags(list, imageID, tags)
		return err
	})
	if err != nil {
		return nil, err
	}
	page, next, err := query.Page(ctx, keep(all, match), func(m tagged[cloud.Image]) string { return m.v.ID }, in.MaxResults, in.NextToken, query.Limit{Max: 1000})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeImagesOutput{NextToken: next, Images: make([]wire.Image, len(page))}
	for n := range page {
		out.Images[n] = wireImage(&page[n].v, page[n].tags)
	}
	return out, nil
}

// checkAccounts returns a Fault unless each of a request's list is an account
// id or one of the words that stand for accounts.
func checkAccounts(list []string, words ...string) error {
	for _, a := range list {
		if !isAccount(a) && !slices.Contains(words, a) {
			return cloud.Faultf("InvalidUserID.Malformed", "Invalid user id: \"%s\"", clip(a))
		}
	}
	return nil
}

// isAccount reports whether id has the form of an account's.
func isAccount(id string) bool { return len(id) == 12 && strings.Trim(id, "0123456789") == "" }

// ownedBy reports whether one of owners has the image; nobody here is amazon
// or the marketplace.
func ownedBy(m *cloud.Image, account string, owners []string) bool {
	return len(owners) == 0 || slices.Contains(owners, m.AccountID) || m.AccountID == account && slices.Contains(owners, "self")
}

// executableBy reports whether one of users has explicit leave to launch the image.
func executableBy(m *cloud.Image, account string, users []string) bool {
	return len(users) == 0 || m.Public && slices.Contains(users, "all") ||
		slices.ContainsFunc(m.LaunchTo, func(to string) bool {
			return slices.Contains(users, to) || to == account && slices.Contains(users, "self")
		})
}

// wireImage returns an image as the API shows it.
func wireImage(m *cloud.Image, tags []cloud.Tag) wire.Image {
	w := wire.Image{
		ImageId:             &m.ID,
		ImageLocation:       query.Ptr(imageLocation(m)),
		State:               &m.State,
		OwnerId:             &m.AccountID,
		CreationDate:        query.Ptr(instant(m.Created)[0]),
		Public:              &m.Public,
		Architecture:        &m.Arch,
		ImageType:           &m.Type,
		KernelId:            opt(m.KernelID),
		RamdiskId:           opt(m.RamdiskID),
		Name:                &m.Name,
		Description:         opt(m.Description),
		RootDeviceType:      query.Ptr("ebs"),
		RootDeviceName:      opt(m.RootDevice),
		BlockDeviceMappings: wireImageMappings(m.Mappings),
		VirtualizationType:  query.Ptr("hvm"),
		Hypervisor:          query.Ptr("kvm"),
		EnaSupport:          &m.EnaSupport,
		ImdsSupport:         opt(m.ImdsSupport),
		PlatformDetails:     query.Ptr("Linux/UNIX"),
		UsageOperation:      query.Ptr("RunInstances"),
		Tags:                wireTags(tags),
	}
	if m.Type == "machine" {
		w.BootMode = query.Ptr(bootMode(m.UEFI))
	}
	return w
}

func imageLocation(m *cloud.Image) string {
	if m.Source != "" {
		return m.Source
	}
	return m.AccountID + "/" + m.Name
}

func wireImageMappings(ms []cloud.ImageMapping) []wire.BlockDeviceMapping {
	out := make([]wire.BlockDeviceMapping, len(ms))
	for i := range ms {
		m := &ms[i]
		out[i] = wire.BlockDeviceMapping{DeviceName: &m.Device, VirtualName: opt(m.Virtual)}
		switch {
		case m.NoDevice:
			out[i].NoDevice = query.Ptr("")
		case m.Virtual == "":
			out[i].Ebs = &wire.EbsBlockDevice{SnapshotId: opt(m.SnapshotID), VolumeSize: &m.SizeGiB, VolumeType: opt(m.VolumeType),
				Iops: opt(m.IOPS), Throughput: opt(m.Throughput), DeleteOnTermination: &m.DeleteOnTermination, Encrypted: query.Ptr(false)}
		}
	}
	return out
}

func ofImageMappings(get func(*cloud.ImageMapping) string) func(tagged[cloud.Image]) []string {
	return func(t tagged[cloud.Image]) []string { return each(t.v.Mappings, get) }
}

var noImageField = field(func(*cloud.Image) string { return "" })

var imageFilters = query.Fields[tagged[cloud.Image]]{
	"architecture": field(func(m *cloud.Image) string { return m.Arch }),
	"block-device-mapping.delete-on-termination": ofImageMappings(func(m *cloud.ImageMapping) string { return strconv.FormatBool(m.DeleteOnTermination) }),
	"block-device-mapping.device-name":           ofImageMappings(func(m *cloud.ImageMapping) string { return m.Device }),
	"block-device-mapping.encrypted":             ofImageMappings(func(*cloud.ImageMapping) string { return "false" }),
	"block-device-mapping.snapshot-id":           ofImageMappings(func(m *cloud.ImageMapping) string { return m.SnapshotID }),
	"block-device-mapping.volume-size":           ofImageMappings(func(m *cloud.ImageMapping) string { return number(m.SizeGiB)[0] }),
	"block-device-mapping.volume-type":           ofImageMappings(func(m *cloud.ImageMapping) string { return m.VolumeType }),
	"boot-mode":                                  field(func(m *cloud.Image) string { return bootMode(m.UEFI) }),
	"creation-date":                              field(func(m *cloud.Image) string { return instant(m.Created)[0] }),
	"description":                                field(func(m *cloud.Image) string { return m.Description }),
	"ena-support":                                field(func(m *cloud.Image) string { return strconv.FormatBool(m.EnaSupport) }),
	"free-tier-eligible":                         field(func(*cloud.Image) string { return "false" }),
	"hypervisor":                                 field(func(*cloud.Image) string { return "kvm" }),
	"image-allowed":                              field(func(*cloud.Image) string { return "true" }),
	"image-id":                                   field(imageID),
	"image-type":                                 field(func(m *cloud.Image) string { return m.Type }),
	"imds-support":                               field(func(m *cloud.Image) string { return m.ImdsSupport }),
	"is-public":                                  field(func(m *cloud.Image) string { return strconv.FormatBool(m.Public) }),
	"kernel-id":                                  field(func(m *cloud.Image) string { return m.KernelID }),
	"manifest-location":                          field(imageLocation),
	"name":                                       field(func(m *cloud.Image) string { return m.Name }),
	"owner-alias":                                noImageField,
	"owner-id":                                   field(func(m *cloud.Image) string { return m.AccountID }),
	"platform":                                   noImageField,
	"platform-details":                           field(func(*cloud.Image) string { return "Linux/UNIX" }),
	"product-code":                               noImageField,
	"product-code.type":                          noImageField,
	"ramdisk-id":                                 field(func(m *cloud.Image) string { return m.RamdiskID }),
	"root-device-name":                           field(func(m *cloud.Image) string { return m.RootDevice }),
	"root-device-type":                           field(func(*cloud.Image) string { return "ebs" }),
	"source-image-id":                            noImageField,
	"source-image-region":                        noImageField,
	"source-instance-id":                         noImageField,
	"sriov-net-support":                          noImageField,
	"state":                                      field(func(m *cloud.Image) string { return m.State }),
	"state-reason-code":                          noImageField,
	"state-reason-message":                       noImageField,
	"tpm-support":                                noImageField,
	"usage-operation":                            field(func(*cloud.Image) string { return "RunInstances" }),
	"virtualization-type":                        field(func(*cloud.Image) string { return "hvm" }),
}
