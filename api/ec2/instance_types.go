package ec2

import (
	"context"
	"slices"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store/cloud"
)

var typesLimit = query.Limit{Min: 5, Max: 100, Default: 100}

// describeInstanceTypes tells what instances of each type get.
func (s *Server) describeInstanceTypes(ctx context.Context, in *wire.DescribeInstanceTypesInput) (*wire.DescribeInstanceTypesOutput, error) {
	if len(in.InstanceTypes) > 0 && in.MaxResults != nil {
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameter InstanceTypes cannot be used with the parameter MaxResults")
	}
	match, err := query.Compile(wire.Filters(in.Filters), typeFilters, nil)
	if err != nil {
		return nil, err
	}
	types := s.Cfg.Types.All()
	limit := typesLimit
	if len(in.InstanceTypes) > 0 {
		strange := slices.DeleteFunc(slices.Clone(in.InstanceTypes), func(name string) bool {
			_, ok := s.Cfg.Types.Get(name)
			return ok
		})
		if len(strange) > 0 {
			return nil, cloud.Faultf("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", clip(strings.Join(strange, ", ")))
		}
		types = keep(types, func(t cloud.Type) bool { return slices.Contains(in.InstanceTypes, t.Name) })
		limit.Default = 0
	}
	page, next, err := query.Page(ctx, keep(types, match), func(t cloud.Type) string { return t.Name }, in.MaxResults, in.NextToken, limit)
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeInstanceTypesOutput{NextToken: next, InstanceTypes: make([]wire.InstanceTypeInfo, len(page))}
	for n, t := range page {
		out.InstanceTypes[n] = wireType(t)
	}
	return out, nil
}

// wireType returns a type as the API shows it: what is true of it here, which
// is less than on EC2.
func wireType(t cloud.Type) wire.InstanceTypeInfo {
	nics := int64(t.MaxInterfaces())
	return wire.InstanceTypeInfo{
		InstanceType:                  &t.Name,
		CurrentGeneration:             &t.Current,
		FreeTierEligible:              query.Ptr(false),
		SupportedUsageClasses:         []string{"on-demand"},
		SupportedRootDeviceTypes:      []string{"ebs"},
		SupportedVirtualizationTypes:  []string{"hvm"},
		SupportedBootModes:            []string{"legacy-bios", "uefi"},
		BareMetal:                     query.Ptr(false),
		ProcessorInfo:                 &wire.ProcessorInfo{SupportedArchitectures: []string{t.Arch}},
		VCpuInfo:                      &wire.VCpuInfo{DefaultVCpus: query.Ptr(int64(t.CPUs)), DefaultCores: query.Ptr(int64(t.CPUs)), DefaultThreadsPerCore: query.Ptr(int64(1)), ValidCores: []int64{int64(t.CPUs)}, ValidThreadsPerCore: []int64{1}},
		MemoryInfo:                    &wire.MemoryInfo{SizeInMiB: query.Ptr(int64(t.MemoryMiB))},
		InstanceStorageSupported:      query.Ptr(false),
		EbsInfo:                       &wire.EbsInfo{EbsOptimizedSupport: query.Ptr("default"), EncryptionSupport: query.Ptr("unsupported"), NvmeSupport: query.Ptr("unsupported"), MaximumEbsAttachments: query.Ptr(int64(maxDisks)), AttachmentLimitType: query.Ptr("dedicated")},
		PlacementGroupInfo:            &wire.PlacementGroupInfo{SupportedStrategies: []string{}},
		HibernationSupported:          query.Ptr(false),
		BurstablePerformanceSupported: &t.Burstable,
		DedicatedHostsSupported:       query.Ptr(false),
		AutoRecoverySupported:         query.Ptr(true),
		SupportedInRegion:             query.Ptr(true),
		NitroEnclavesSupport:          query.Ptr("unsupported"),
		NitroTpmSupport:               query.Ptr("unsupported"),
		RebootMigrationSupport:        query.Ptr("unsupported"),
		NetworkInfo: &wire.NetworkInfo{
			NetworkPerformance: query.Ptr("That of the host"), MaximumNetworkInterfaces: &nics, MaximumNetworkCards: query.Ptr(int64(1)), DefaultNetworkCardIndex: query.Ptr(int64(0)),
			Ipv4AddressesPerInterface: query.Ptr(int64(maxSecondary + 1)), Ipv6AddressesPerInterface: query.Ptr(int64(0)), Ipv6Supported: query.Ptr(false),
			EnaSupport: query.Ptr("unsupported"), EfaSupported: query.Ptr(false), EncryptionInTransitSupported: query.Ptr(false), EnaSrdSupported: query.Ptr(false), FlexibleEnaQueuesSupport: query.Ptr("unsupported"),
			NetworkCards: []wire.NetworkCardInfo{{NetworkCardIndex: query.Ptr(int64(0)), NetworkPerformance: query.Ptr("That of the host"), MaximumNetworkInterfaces: &nics}},
		},
	}
}

func typeIs(v string) func(cloud.Type) []string { return func(cloud.Type) []string { return one(v) } }

func typeHasNone(cloud.Type) []string { return nil }

var typeFilters = query.Fields[cloud.Type]{
	"auto-recovery-supported":                                 typeIs("true"),
	"bare-metal":                                              typeIs("false"),
	"burstable-performance-supported":                         func(t cloud.Type) []string { return yesNo(t.Burstable) },
	"current-generation":                                      func(t cloud.Type) []string { return yesNo(t.Current) },
	"dedicated-hosts-supported":                               typeIs("false"),
	"ebs-info.attachment-limit-type":                          typeIs("dedicated"),
	"ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps":  typeHasNone,
	"ebs-info.ebs-optimized-info.baseline-iops":               typeHasNone,
	"ebs-info.ebs-optimized-info.baseline-throughput-in-mbps": typeHasNone,
	"ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps":   typeHasNone,
	"ebs-info.ebs-optimized-info.maximum-iops":                typeHasNone,
	"ebs-info.ebs-optimized-info.maximum-throughput-in-mbps":  typeHasNone,
	"ebs-info.ebs-optimized-support":                          typeIs("default"),
	"ebs-info.encryption-support":                             typeIs("unsupported"),
	"ebs-info.maximum-ebs-attachments":                        func(cloud.Type) []string { return number(maxDisks) },
	"ebs-info.nvme-support":                                   typeIs("unsupported"),
	"free-tier-eligible":                                      typeIs("false"),
	"hibernation-supported":                                   typeIs("false"),
	"hypervisor":                                              typeHasNone,
	"instance-storage-info.disk.count":                        typeHasNone,
	"instance-storage-info.disk.size-in-gb":                   typeHasNone,
	"instance-storage-info.disk.type":                         typeHasNone,
	"instance-storage-info.encryption-support":                typeHasNone,
	"instance-storage-info.nvme-support":                      typeHasNone,
	"instance-storage-info.total-size-in-gb":                  typeHasNone,
	"instance-storage-supported":                              typeIs("false"),
	"instance-type":                                           func(t cloud.Type) []string { return one(t.Name) },
	"memory-info.size-in-mib":                                 func(t cloud.Type) []string { return number(int64(t.MemoryMiB)) },
	"network-info.bandwidth-weightings":                       typeHasNone,
	"network-info.efa-info.maximum-efa-interfaces":            typeHasNone,
	"network-info.efa-supported":                              typeIs("false"),
	"network-info.ena-support":                                typeIs("unsupported"),
	"network-info.encryption-in-transit-supported":            typeIs("false"),
	"network-info.flexible-ena-queues-support":                typeIs("unsupported"),
	"network-info.ipv4-addresses-per-interface":               func(cloud.Type) []string { return number(maxSecondary + 1) },
	"network-info.ipv6-addresses-per-interface":               typeIs("0"),
	"network-info.ipv6-supported":                             typeIs("false"),
	"network-info.maximum-network-cards":                      typeIs("1"),
	"network-info.maximum-network-interfaces":                 func(t cloud.Type) []string { return number(int64(t.MaxInterfaces())) },
	"network-info.network-performance":                        typeIs("That of the host"),
	"nitro-enclaves-support":                                  typeIs("unsupported"),
	"nitro-tpm-info.supported-versions":                       typeHasNone,
	"nitro-tpm-support":                                       typeIs("unsupported"),
	"processor-info.supported-architecture":                   func(t cloud.Type) []string { return one(t.Arch) },
	"processor-info.supported-features":                       typeHasNone,
	"processor-info.sustained-clock-speed-in-ghz":             typeHasNone,
	"reboot-migration-support":                                typeIs("unsupported"),
	"supported-boot-mode":                                     func(cloud.Type) []string { return []string{"legacy-bios", "uefi"} },
	"supported-root-device-type":                              typeIs("ebs"),
	"supported-usage-class":                                   typeIs("on-demand"),
	"supported-virtualization-type":                           typeIs("hvm"),
	"vcpu-info.default-cores":                                 func(t cloud.Type) []string { return number(int64(t.CPUs)) },
	"vcpu-info.default-threads-per-core":                      typeIs("1"),
	"vcpu-info.default-vcpus":                                 func(t cloud.Type) []string { return number(int64(t.CPUs)) },
	"vcpu-info.valid-cores":                                   func(t cloud.Type) []string { return number(int64(t.CPUs)) },
	"vcpu-info.valid-threads-per-core":                        typeIs("1"),
}

// describeInstanceTypeOfferings tells where types are offered: every one everywhere.
func (s *Server) describeInstanceTypeOfferings(ctx context.Context, in *wire.DescribeInstanceTypeOfferingsInput) (*wire.DescribeInstanceTypeOfferingsOutput, error) {
	kind := query.Val(in.LocationType)
	var places []string
	switch kind {
	case "", "region":
		kind, places = "region", []string{s.Cfg.Region}
	case "availability-zone":
		places = s.Cfg.Zones()
	case "availability-zone-id":
		for _, z := range s.Cfg.Zones() {
			places = append(places, cloud.ZoneID(s.Cfg.Region, z))
		}
	default:
		return nil, invalid("LocationType", kind, "It is region, availability-zone or availability-zone-id.")
	}
	type offer struct{ typ, place string }
	match, err := query.Compile(wire.Filters(in.Filters), query.Fields[offer]{
		"instance-type": func(o offer) []string { return one(o.typ) },
		"location":      func(o offer) []string { return one(o.place) },
	}, nil)
	if err != nil {
		return nil, err
	}
	var offers []offer
	for _, t := range s.Cfg.Types.All() {
		for _, p := range slices.Sorted(slices.Values(places)) {
			offers = append(offers, offer{t.Name, p})
		}
	}
	page, next, err := query.Page(ctx, keep(offers, match), func(o offer) string { return o.typ + " " + o.place }, in.MaxResults, in.NextToken, query.Thousand)
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeInstanceTypeOfferingsOutput{NextToken: next}
	for _, o := range page {
		out.InstanceTypeOfferings = append(out.InstanceTypeOfferings, wire.InstanceTypeOffering{InstanceType: &o.typ, Location: &o.place, LocationType: &kind})
	}
	return out, nil
}
