package ec2

import (
	"net/netip"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store/cloud"
)

// Limits of a launch.
const (
	maxUserData = 16 << 10 // bytes, before base64 (EC2 docs: "Run commands at launch")
	maxLaunch   = 1000     // instances that one call starts
	maxToken    = 64       // characters of a client token
	maxDisks    = 24       // volumes of one instance
	maxGroups   = 16       // security groups of one interface

	maxSecondary = 49 // private addresses of one interface beside the primary; EC2's most, for its largest types
)

// A launch is a RunInstances request, checked as far as that goes without the
// store.
type launch struct {
	min, max  int
	token     string
	imageID   string
	zone      string // "" for any
	typ       cloud.Type
	base      cloud.Instance // what its instances have in common
	keyName   string
	kernelID  string
	ramdiskID string
	metadata  *wire.InstanceMetadataOptionsRequest
	nics      []nicSpec // by device index
	disks     []wire.BlockDeviceMapping
	tags      specifiedTags
	public    cloud.PublicRange // that its interfaces get addresses of
	accepted  cloud.Event
}

// newLaunch checks a request.
func (s *Server) newLaunch(in *wire.RunInstancesInput) (*launch, error) {
	if err := refuseLaunch(in); err != nil {
		return nil, err
	}
	l := &launch{token: query.Val(in.ClientToken), imageID: query.Val(in.ImageId), keyName: query.Val(in.KeyName),
		kernelID: query.Val(in.KernelId), ramdiskID: query.Val(in.RamdiskId), metadata: in.MetadataOptions, disks: in.BlockDeviceMappings}
	if err := l.readCounts(in); err != nil {
		return nil, err
	}
	if l.imageID == "" {
		return nil, missing("ImageId")
	}
	if err := checkIDs("ami", l.imageID); err != nil {
		return nil, err
	}
	name := query.Val(in.InstanceType)
	if name == "" {
		name = cloud.DefaultType
	}
	var ok bool
	if l.typ, ok = s.Cfg.Types.Get(name); !ok {
		return nil, cloud.Faultf("InvalidParameterValue", "Invalid value '%s' for InstanceType.", clip(name))
	}
	if err := l.readBase(in); err != nil {
		return nil, err
	}
	if err := l.readPlacement(in.Placement, s.Cfg); err != nil {
		return nil, err
	}
	if err := l.readNICs(in); err != nil {
		return nil, err
	}
	var err error
	l.tags, err = readTagSpecifications(in.TagSpecifications, "instance", "volume", "network-interface")
	return l, err
}

func (l *launch) readCounts(in *wire.RunInstancesInput) error {
	if in.MinCount == nil {
		return missing("MinCount")
	}
	if in.MaxCount == nil {
		return missing("MaxCount")
	}
	switch lo, hi := *in.MinCount, *in.MaxCount; {
	case lo < 1:
		return cloud.Faultf("InvalidParameterValue", "Value (%d) for parameter minCount is invalid. It must be at least 1.", lo)
	case hi < lo:
		return cloud.Faultf("InvalidParameterValue", "Value (%d) for parameter maxCount is invalid. It must not be smaller than minCount (%d).", hi, lo)
	case lo > maxLaunch:
		return cloud.Faultf("InstanceLimitExceeded", "One call starts up to %d instances; you asked for %d.", maxLaunch, lo)
	default:
		l.min, l.max = int(lo), int(min(hi, maxLaunch))
	}
	if len(l.token) > maxToken {
		return cloud.Faultf("InvalidParameterValue", "The client token is longer than %d characters.", maxToken)
	}
	return nil
}

// readBase fills in what comes from the request alone.
func (l *launch) readBase(in *wire.RunInstancesInput) error {
	data, err := userData(query.Val(in.UserData))
	if err != nil {
		return err
	}
	credit, err := creditSpec(in.CreditSpecification, l.typ)
	if err != nil {
		return err
	}
	if err := checkCPUs(in.CpuOptions, l.typ); err != nil {
		return err
	}
	l.base = cloud.Instance{
		Type: l.typ.Name, CPUs: l.typ.CPUs, MemoryMiB: l.typ.MemoryMiB, UserData: data, KeyName: l.keyName,
		TerminationProtected: query.Val(in.DisableApiTermination), StopProtected: query.Val(in.DisableApiStop),
		EbsOptimized: query.Val(in.EbsOptimized), CreditSpec: credit, ClientToken: l.token, Tenancy: "default",
		Monitoring: in.Monitoring != nil && query.Val(in.Monitoring.Enabled),
	}
	switch v := query.Val(in.InstanceInitiatedShutdownBehavior); v {
	case "", "stop":
	case "terminate":
		l.base.ShutdownTerminates = true
	default:
		return invalid("instanceInitiatedShutdownBehavior", v, "It is stop or terminate.")
	}
	if m := in.MaintenanceOptions; m != nil {
		l.base.NoAutoRecovery, err = noAutoRecovery(query.Val(m.AutoRecovery))
	}
	return err
}

// checkCPUs refuses what DescribeInstanceTypes does not offer: as many cores as
// CPUs, of one thread.
func checkCPUs(o *wire.CpuOptionsRequest, t cloud.Type) error {
	switch {
	case o == nil:
		return nil
	case o.CoreCount != nil && *o.CoreCount != int64(t.CPUs) || o.ThreadsPerCore != nil && *o.ThreadsPerCore != 1:
		return unsupported("A CpuOptions other than the CPUs of the instance type")
	case query.Val(o.AmdSevSnp) != "" && *o.AmdSevSnp != "disabled":
		return unsupported("CpuOptions.AmdSevSnp=" + clip(*o.AmdSevSnp))
	case query.Val(o.NestedVirtualization) != "" && *o.NestedVirtualization != "disabled":
		return unsupported("CpuOptions.NestedVirtualization=" + clip(*o.NestedVirtualization))
	}
	return nil
}

func noAutoRecovery(v string) (bool, error) {
	switch v {
	case "", "default":
		return false, nil
	case "disabled":
		return true, nil
	}
	return false, invalid("autoRecovery", v, "It is default or disabled.")
}

// userData decodes user data, which must be base64.
func userData(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	b, err := query.DecodeBase64(s)
	if err != nil {
		return nil, cloud.Faultf("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	}
	if len(b) > maxUserData {
		return nil, cloud.Faultf("InvalidParameterValue", "User data is limited to %d bytes; yours are %d.", maxUserData, len(b))
	}
	return b, nil
}

// creditSpec returns the credit option of a burstable type, whose default
// depends on the family (EC2 docs: "Unlimited mode").
func creditSpec(in *wire.CreditSpecificationRequest, t cloud.Type) (string, error) {
	switch {
	case in != nil && !t.Burstable:
		return "", cloud.Faultf("InstanceCreditSpecification.NotSupported", "The %s instance type has no CPU credits; CreditSpecification is for T types.", t.Name)
	case in != nil:
		switch v := query.Val(in.CpuCredits); v {
		case "standard", "unlimited":
			return v, nil
		case "":
			return "", missing("CreditSpecification.CpuCredits")
		default:
			return "", invalid("CreditSpecification.CpuCredits", v, "It is standard or unlimited.")
		}
	case !t.Burstable:
		return "", nil
	case strings.HasPrefix(t.Name, "t2."):
		return "standard", nil
	}
	return "unlimited", nil
}

// readPlacement checks where the instances should be.
func (l *launch) readPlacement(p *wire.Placement, cfg Config) error {
	if p == nil {
		return nil
	}
	switch {
	case query.Val(p.GroupName) != "" || query.Val(p.GroupId) != "":
		return cloud.Faultf("InvalidPlacementGroup.Unknown", "The placement group '%s' is unknown; this cloud has none.", clip(query.Val(p.GroupName)+query.Val(p.GroupId)))
	case query.Val(p.HostId) != "" || query.Val(p.HostResourceGroupArn) != "" || query.Val(p.Affinity) != "":
		return unsupported("Placement on a dedicated host")
	case p.PartitionNumber != nil || query.Val(p.SpreadDomain) != "":
		return unsupported("Placement.PartitionNumber")
	case query.Val(p.Tenancy) != "" && *p.Tenancy != "default":
		return unsupported("The tenancy '" + clip(*p.Tenancy) + "'")
	}
	l.zone = query.Val(p.AvailabilityZone)
	if id := query.Val(p.AvailabilityZoneId); id != "" {
		for _, z := range cfg.Zones() {
			if cloud.ZoneID(cfg.Region, z) == id && (l.zone == "" || l.zone == z) {
				l.zone = z
				return nil
			}
		}
		return cloud.Faultf("InvalidParameterValue", "Invalid availability zone id: [%s]", clip(id))
	}
	return nil
}

// refuseLaunch tells what this cloud does not do. A value that asks for
// nothing special is let through: clients send defaults.
func refuseLaunch(in *wire.RunInstancesInput) error {
	for _, t := range []struct {
		asked bool
		what  string
	}{
		{in.IamInstanceProfile != nil && query.Val(in.IamInstanceProfile.Arn)+query.Val(in.IamInstanceProfile.Name) != "", "IamInstanceProfile"},
		{in.LaunchTemplate != nil, "LaunchTemplate"},
		{in.InstanceMarketOptions != nil, "InstanceMarketOptions"},
		{in.HibernationOptions != nil && query.Val(in.HibernationOptions.Configured), "HibernationOptions.Configured=true"},
		{in.EnclaveOptions != nil && query.Val(in.EnclaveOptions.Enabled), "EnclaveOptions.Enabled=true"},
		{in.CapacityReservationSpecification != nil && in.CapacityReservationSpecification.CapacityReservationTarget != nil, "CapacityReservationSpecification.CapacityReservationTarget"},
		{len(in.ElasticGpuSpecification) > 0, "ElasticGpuSpecification"},
		{len(in.ElasticInferenceAccelerators) > 0, "ElasticInferenceAccelerator"},
		{len(in.LicenseSpecifications) > 0, "LicenseSpecification"},
		{query.Val(in.Ipv6AddressCount) > 0 || len(in.Ipv6Addresses) > 0 || query.Val(in.EnablePrimaryIpv6), "An IPv6 address"},
		{in.NetworkPerformanceOptions != nil && query.Val(in.NetworkPerformanceOptions.BandwidthWeighting) != "default", "NetworkPerformanceOptions"},
		{in.Operator != nil, "Operator"},
		{len(in.SecondaryInterfaces) > 0, "SecondaryInterface"},
		{query.Val(in.AdditionalInfo) != "", "AdditionalInfo"},
	} {
		if t.asked {
			return unsupported(t.what)
		}
	}
	if r := in.CapacityReservationSpecification; r != nil {
		switch v := query.Val(r.CapacityReservationPreference); v {
		case "", "open", "none": // there are no reservations
		case "capacity-reservations-only":
			return unsupported("CapacityReservationSpecification.CapacityReservationPreference=" + v)
		default:
			return invalid("capacityReservationPreference", v, "It is open or none.")
		}
	}
	if o := in.PrivateDnsNameOptions; o != nil {
		if t := query.Val(o.HostnameType); t == "resource-name" || query.Val(o.EnableResourceNameDnsARecord) || query.Val(o.EnableResourceNameDnsAAAARecord) {
			return unsupported("A host name made of the instance's id (PrivateDnsNameOptions)")
		}
	}
	return nil
}

// setMetadata changes m as a request asks.
func setMetadata(m *cloud.MetadataOptions, in *wire.InstanceMetadataOptionsRequest) error {
	for _, f := range []struct {
		name     string
		in       *string
		to       *string
		yes, not string
	}{
		{"HttpTokens", in.HttpTokens, &m.Tokens, "required", "optional"},
		{"HttpEndpoint", in.HttpEndpoint, &m.Endpoint, "enabled", "disabled"},
		{"HttpProtocolIpv6", in.HttpProtocolIpv6, &m.IPv6, "enabled", "disabled"},
		{"InstanceMetadataTags", in.InstanceMetadataTags, &m.Tags, "enabled", "disabled"},
	} {
		switch v := query.Val(f.in); v {
		case "":
		case f.yes, f.not:
			*f.to = v
		default:
			return invalid(f.name, v, "It is "+f.yes+" or "+f.not+".")
		}
	}
	if h := in.HttpPutResponseHopLimit; h != nil {
		if *h < 1 || *h > 64 {
			return cloud.Faultf("InvalidParameterValue", "Value (%d) for parameter HttpPutResponseHopLimit is invalid. It is 1 to 64.", *h)
		}
		m.HopLimit = *h
	}
	return nil
}

// parseIPv4 reads an IPv4 address of a request.
func parseIPv4(param, s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(s)
	if err != nil || !ip.Is4() {
		return netip.Addr{}, invalid(param, s, "It is not an IPv4 address.")
	}
	return ip, nil
}
