package ec2

import (
	"net/netip"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store/cloud"
)

// wireInstance returns an instance as the API shows it.
func (s *Server) wireInstance(it *instanceItem) wire.Instance {
	w := wire.Instance{
		InstanceId:            &it.ID,
		ImageId:               &it.ImageID,
		State:                 wireState(it.State),
		StateTransitionReason: query.Ptr(transitionReason(&it.Instance)),
		KeyName:               opt(it.KeyName),
		AmiLaunchIndex:        &it.LaunchIndex,
		InstanceType:          &it.Type,
		LaunchTime:            &it.Launched,
		Placement: &wire.Placement{
			AvailabilityZone: &it.Zone, AvailabilityZoneId: query.Ptr(cloud.ZoneID(s.Cfg.Region, it.Zone)),
			GroupName: query.Ptr(""), Tenancy: query.Ptr("default")},
		KernelId:              opt(it.KernelID),
		RamdiskId:             opt(it.RamdiskID),
		Monitoring:            wireMonitoring(it.Monitoring),
		Architecture:          &it.Arch,
		RootDeviceType:        query.Ptr("ebs"),
		RootDeviceName:        &it.RootDevice,
		BlockDeviceMappings:   wireMappings(it.Volumes),
		VirtualizationType:    query.Ptr("hvm"),
		ClientToken:           &it.ClientToken,
		Tags:                  wireTags(it.tags),
		Hypervisor:            &it.Hypervisor,
		EbsOptimized:          &it.EbsOptimized,
		EnaSupport:            &it.EnaSupport,
		MetadataOptions:       wireMetadata(it.Metadata),
		MaintenanceOptions:    wireMaintenance(it.NoAutoRecovery),
		CpuOptions:            &wire.CpuOptions{CoreCount: query.Ptr(int64(it.CPUs)), ThreadsPerCore: query.Ptr(int64(1))},
		BootMode:              query.Ptr(bootMode(it.UEFI)),
		HibernationOptions:    &wire.HibernationOptions{Configured: query.Ptr(false)},
		EnclaveOptions:        &wire.EnclaveOptions{Enabled: query.Ptr(false)},
		PlatformDetails:       query.Ptr("Linux/UNIX"),
		UsageOperation:        query.Ptr("RunInstances"),
		PrivateDnsName:        query.Ptr(""),
		PublicDnsName:         query.Ptr(""),
		PrivateDnsNameOptions: privateDNSOptions(),

		UsageOperationUpdateTime:         &it.Created,
		CurrentInstanceBootMode:          query.Ptr(bootMode(it.UEFI)),
		CapacityReservationSpecification: &wire.CapacityReservationSpecificationResponse{CapacityReservationPreference: query.Ptr("open")},
	}
	if it.Reason != nil {
		w.StateReason = &wire.StateReason{Code: &it.Reason.Code, Message: &it.Reason.Message}
	}
	if it.State == cloud.Terminated { // EC2 forgets its network, see newItem
		return w
	}
	s.wireNetwork(it, &w)
	return w
}

// wireNetwork fills in what comes from the interfaces.
func (s *Server) wireNetwork(it *instanceItem, w *wire.Instance) {
	w.VpcId, w.SubnetId = &it.VpcID, &it.SubnetID
	w.PrivateIpAddress = query.Ptr(it.PrivateIP.String())
	w.PrivateDnsName = query.Ptr(cloud.PrivateName(it.PrivateIP, s.Cfg.Region))
	w.NetworkInterfaces = make([]wire.InstanceNetworkInterface, len(it.nics))
	for n := range it.nics {
		w.NetworkInterfaces[n] = s.wireNIC(&it.nics[n])
	}
	if len(it.nics) == 0 {
		return
	}
	primary := &it.nics[0]
	w.SourceDestCheck = query.Ptr(!primary.NoSourceDestCheck)
	w.SecurityGroups = primary.groups
	if a, ok := primary.public(primary.PrivateIP); ok {
		w.PublicIpAddress = query.Ptr(a.IP.String())
		w.PublicDnsName = query.Ptr(cloud.PublicName(a.IP, s.Cfg.Region, s.Cfg.Domain))
	}
}

// wireNIC returns an interface as a part of its instance.
func (s *Server) wireNIC(n *nic) wire.InstanceNetworkInterface {
	w := wire.InstanceNetworkInterface{
		NetworkInterfaceId: &n.ID,
		SubnetId:           &n.SubnetID,
		VpcId:              &n.VpcID,
		Description:        &n.Description,
		OwnerId:            &n.AccountID,
		Status:             query.Ptr("in-use"),
		MacAddress:         &n.MAC,
		PrivateIpAddress:   query.Ptr(n.PrivateIP.String()),
		PrivateDnsName:     &n.privateName,
		SourceDestCheck:    query.Ptr(!n.NoSourceDestCheck),
		Groups:             n.groups,
		InterfaceType:      query.Ptr("interface"),
		Association:        s.wireAssociation(n, n.PrivateIP),
		Attachment: &wire.InstanceNetworkInterfaceAttachment{
			AttachmentId: &n.AttachmentID, DeviceIndex: &n.DeviceIndex, Status: query.Ptr("attached"), AttachTime: &n.Attached,
			DeleteOnTermination: &n.DeleteOnTermination, NetworkCardIndex: query.Ptr(int64(0))},
	}
	for k, ip := range append([]netip.Addr{n.PrivateIP}, n.Secondary...) {
		w.PrivateIpAddresses = append(w.PrivateIpAddresses, wire.InstancePrivateIpAddress{
			PrivateIpAddress: query.Ptr(ip.String()),
			PrivateDnsName:   query.Ptr(cloud.PrivateName(ip, s.Cfg.Region)),
			Primary:          query.Ptr(k == 0),
			Association:      s.wireAssociation(n, ip),
		})
	}
	return w
}

// wireAssociation returns the public address of ip of the interface, nil for none.
func (s *Server) wireAssociation(n *nic, ip netip.Addr) *wire.InstanceNetworkInterfaceAssociation {
	a, ok := n.public(ip)
	if !ok {
		return nil
	}
	owner := addressOwner(&a)
	return &wire.InstanceNetworkInterfaceAssociation{
		PublicIp:      query.Ptr(a.IP.String()),
		PublicDnsName: query.Ptr(cloud.PublicName(a.IP, s.Cfg.Region, s.Cfg.Domain)),
		IpOwnerId:     &owner,
	}
}

func wireState(st cloud.InstanceState) *wire.InstanceState {
	return &wire.InstanceState{Code: query.Ptr(st.Code()), Name: query.Ptr(string(st))}
}

func wireMonitoring(on bool) *wire.Monitoring {
	if on {
		return &wire.Monitoring{State: query.Ptr("enabled")}
	}
	return &wire.Monitoring{State: query.Ptr("disabled")}
}

func wireMappings(ms []cloud.Mapping) []wire.InstanceBlockDeviceMapping {
	out := make([]wire.InstanceBlockDeviceMapping, len(ms))
	for i, m := range ms {
		out[i] = wire.InstanceBlockDeviceMapping{DeviceName: &m.Device, Ebs: &wire.EbsInstanceBlockDevice{
			VolumeId: &m.VolumeID, Status: query.Ptr("attached"), AttachTime: &m.Attached, DeleteOnTermination: &m.DeleteOnTermination}}
	}
	return out
}

func wireMetadata(m cloud.MetadataOptions) *wire.InstanceMetadataOptionsResponse {
	return &wire.InstanceMetadataOptionsResponse{
		State: query.Ptr("applied"), HttpTokens: &m.Tokens, HttpEndpoint: &m.Endpoint,
		HttpPutResponseHopLimit: &m.HopLimit, HttpProtocolIpv6: &m.IPv6, InstanceMetadataTags: &m.Tags}
}

func wireMaintenance(off bool) *wire.InstanceMaintenanceOptions {
	recovery := "default"
	if off {
		recovery = "disabled"
	}
	return &wire.InstanceMaintenanceOptions{AutoRecovery: &recovery}
}

func privateDNSOptions() *wire.PrivateDnsNameOptionsResponse {
	return &wire.PrivateDnsNameOptionsResponse{HostnameType: query.Ptr("ip-name"),
		EnableResourceNameDnsARecord: query.Ptr(false), EnableResourceNameDnsAAAARecord: query.Ptr(false)}
}

func bootMode(uefi bool) string {
	if uefi {
		return "uefi"
	}
	return "legacy-bios"
}

// userInitiated is the reason of what the API was asked for.
const userInitiated = "Client.UserInitiatedShutdown"

// reasonUserInitiated returns the reason of a stop or termination by the API.
func reasonUserInitiated() *cloud.StateReason {
	return &cloud.StateReason{Code: userInitiated, Message: userInitiated + ": User initiated shutdown"}
}

// transitionReason is the older, one-line form of the state's reason.
func transitionReason(i *cloud.Instance) string {
	switch {
	case i.Reason == nil:
		return ""
	case i.Reason.Code == userInitiated:
		return i.Since.UTC().Format("User initiated (2006-01-02 15:04:05 GMT)")
	case strings.HasPrefix(i.Reason.Code, "Server."):
		return i.Reason.Code
	}
	return ""
}
