package ec2

import (
	"maps"
	"strconv"
	"time"

	"eucad/api/query"
	"eucad/store/cloud"
)

// Values for filters.
func one(s string) []string { return []string{s} }

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func yesNo(b bool) []string        { return []string{strconv.FormatBool(b)} }
func number(n int64) []string      { return []string{strconv.FormatInt(n, 10)} }
func instant(t time.Time) []string { return []string{t.UTC().Format(query.TimeFormat)} }

func each[T any](list []T, get func(*T) string) []string {
	var out []string
	for i := range list {
		if v := get(&list[i]); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// ofPrimary makes a filter of the primary interface's values.
func ofPrimary(get func(*nic) []string) func(*instanceItem) []string {
	return func(it *instanceItem) []string {
		if len(it.nics) == 0 {
			return nil
		}
		return get(&it.nics[0])
	}
}

// ofNICs makes a filter of the values of all interfaces.
func ofNICs(get func(*nic) []string) func(*instanceItem) []string {
	return func(it *instanceItem) []string {
		var out []string
		for i := range it.nics {
			out = append(out, get(&it.nics[i])...)
		}
		return out
	}
}

// privateIP returns the primary private address; a terminated instance has none.
func privateIP(it *instanceItem) []string {
	if !it.PrivateIP.IsValid() {
		return nil
	}
	return one(it.PrivateIP.String())
}

func ofMappings(get func(*cloud.Mapping) string) func(*instanceItem) []string {
	return func(it *instanceItem) []string { return each(it.Volumes, get) }
}

func constant(s string) func(*instanceItem) []string {
	v := []string{s}
	return func(*instanceItem) []string { return v }
}

func none(*instanceItem) []string { return nil }

func groupIDs(n *nic) []string { return n.Groups }

func groupNamesOf(n *nic) []string {
	out := make([]string, len(n.groups))
	for i, g := range n.groups {
		out[i] = *g.GroupName
	}
	return out
}

func privateIPs(n *nic) []string {
	out := []string{n.PrivateIP.String()}
	for _, ip := range n.Secondary {
		out = append(out, ip.String())
	}
	return out
}

// primaries says of each private address whether it is the primary one.
func primaries(n *nic) []string {
	if len(n.Secondary) > 0 {
		return []string{"true", "false"}
	}
	return []string{"true"}
}

func ofAddresses(get func(*cloud.Address) string) func(*instanceItem) []string {
	return ofNICs(func(n *nic) []string { return each(n.addresses, get) })
}

// ofElastic makes a filter of what Elastic IPs have, and the addresses that
// instances get by themselves have not.
func ofElastic(get func(*cloud.Address) string) func(*instanceItem) []string {
	return ofAddresses(func(a *cloud.Address) string {
		if a.Auto {
			return ""
		}
		return get(a)
	})
}

// publicNames returns the DNS names of the public addresses of all interfaces.
func publicNames(it *instanceItem) []string {
	return ofAddresses(func(a *cloud.Address) string { return cloud.PublicName(a.IP, it.cfg.Region, it.cfg.Domain) })(it)
}

// privateNames returns the DNS names of the private addresses of all interfaces.
func privateNames(it *instanceItem) []string {
	return ofNICs(func(n *nic) []string {
		out := []string{n.privateName}
		for _, ip := range n.Secondary {
			out = append(out, cloud.PrivateName(ip, it.cfg.Region))
		}
		return out
	})(it)
}

func addressOwner(a *cloud.Address) string {
	if a.Auto {
		return "amazon"
	}
	return a.AccountID
}

func publicIPs(n *nic) []string {
	return each(n.addresses, func(a *cloud.Address) string { return a.IP.String() })
}

// instanceFilters are EC2's filters for instances. Those of things that
// instances here never have (spot requests, Outposts, …) match nothing.
var instanceFilters = join(nicFilters, query.Fields[*instanceItem]{
	"affinity":                none,
	"architecture":            func(it *instanceItem) []string { return one(it.Arch) },
	"availability-zone":       func(it *instanceItem) []string { return one(it.Zone) },
	"availability-zone-id":    func(it *instanceItem) []string { return one(cloud.ZoneID(it.cfg.Region, it.Zone)) },
	"boot-mode":               func(it *instanceItem) []string { return one(bootMode(it.UEFI)) },
	"capacity-reservation-id": none,
	"capacity-reservation-specification.capacity-reservation-preference":                                     constant("open"),
	"capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id":                 none,
	"capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn": none,
	"client-token":                                    func(it *instanceItem) []string { return one(it.ClientToken) },
	"current-instance-boot-mode":                      func(it *instanceItem) []string { return one(bootMode(it.UEFI)) },
	"ebs-optimized":                                   func(it *instanceItem) []string { return yesNo(it.EbsOptimized) },
	"ena-support":                                     func(it *instanceItem) []string { return yesNo(it.EnaSupport) },
	"enclave-options.enabled":                         constant("false"),
	"hibernation-options.configured":                  constant("false"),
	"host-id":                                         none,
	"hypervisor":                                      func(it *instanceItem) []string { return one(it.Hypervisor) },
	"iam-instance-profile.arn":                        none,
	"iam-instance-profile.id":                         none,
	"iam-instance-profile.name":                       none,
	"image-id":                                        func(it *instanceItem) []string { return one(it.ImageID) },
	"instance-id":                                     func(it *instanceItem) []string { return one(it.ID) },
	"instance-lifecycle":                              none,
	"instance-state-code":                             func(it *instanceItem) []string { return number(it.State.Code()) },
	"instance-state-name":                             func(it *instanceItem) []string { return one(string(it.State)) },
	"instance-type":                                   func(it *instanceItem) []string { return one(it.Type) },
	"kernel-id":                                       func(it *instanceItem) []string { return some(it.KernelID) },
	"ipv6-address":                                    none,
	"key-name":                                        func(it *instanceItem) []string { return some(it.KeyName) },
	"launch-index":                                    func(it *instanceItem) []string { return number(it.LaunchIndex) },
	"launch-time":                                     func(it *instanceItem) []string { return instant(it.Launched) },
	"maintenance-options.auto-recovery":               func(it *instanceItem) []string { return one(*wireMaintenance(it.NoAutoRecovery).AutoRecovery) },
	"metadata-options.http-endpoint":                  func(it *instanceItem) []string { return one(it.Metadata.Endpoint) },
	"metadata-options.http-protocol-ipv4":             func(it *instanceItem) []string { return one(it.Metadata.Endpoint) },
	"metadata-options.http-protocol-ipv6":             func(it *instanceItem) []string { return one(it.Metadata.IPv6) },
	"metadata-options.http-put-response-hop-limit":    func(it *instanceItem) []string { return number(it.Metadata.HopLimit) },
	"metadata-options.http-tokens":                    func(it *instanceItem) []string { return one(it.Metadata.Tokens) },
	"metadata-options.instance-metadata-tags":         func(it *instanceItem) []string { return one(it.Metadata.Tags) },
	"metadata-options.state":                          constant("applied"),
	"monitoring-state":                                func(it *instanceItem) []string { return one(*wireMonitoring(it.Monitoring).State) },
	"network-performance-options.bandwidth-weighting": constant("default"),
	"operator.managed":                                constant("false"),
	"operator.principal":                              none,
	"outpost-arn":                                     none,
	"owner-id":                                        func(it *instanceItem) []string { return one(it.AccountID) },
	"placement-group-name":                            none,
	"placement-partition-number":                      none,
	"platform":                                        none,
	"platform-details":                                constant("Linux/UNIX"),
	"private-dns-name-options.enable-resource-name-dns-a-record":    constant("false"),
	"private-dns-name-options.enable-resource-name-dns-aaaa-record": constant("false"),
	"private-dns-name-options.hostname-type":                        constant("ip-name"),
	"product-code":                                                  none,
	"product-code.type":                                             none,
	"ramdisk-id":                                                    func(it *instanceItem) []string { return some(it.RamdiskID) },
	"reason":                                                        func(it *instanceItem) []string { return one(transitionReason(&it.Instance)) },
	"requester-id":                                                  none,
	"reservation-id":                                                func(it *instanceItem) []string { return one(it.ReservationID) },
	"root-device-name":                                              func(it *instanceItem) []string { return one(it.RootDevice) },
	"root-device-type":                                              constant("ebs"),
	"spot-instance-request-id":                                      none,
	"state-reason-code":                                             func(it *instanceItem) []string { return some(it.reason().Code) },
	"state-reason-message":                                          func(it *instanceItem) []string { return some(it.reason().Message) },
	"subnet-id":                                                     func(it *instanceItem) []string { return some(it.SubnetID) },
	"tenancy":                                                       constant("default"),
	"tpm-support":                                                   none,
	"usage-operation":                                               constant("RunInstances"),
	"usage-operation-update-time":                                   func(it *instanceItem) []string { return instant(it.Created) },
	"virtualization-type":                                           constant("hvm"),
	"vpc-id":                                                        func(it *instanceItem) []string { return some(it.VpcID) },

	"block-device-mapping.attach-time":           ofMappings(func(m *cloud.Mapping) string { return instant(m.Attached)[0] }),
	"block-device-mapping.delete-on-termination": ofMappings(func(m *cloud.Mapping) string { return yesNo(m.DeleteOnTermination)[0] }),
	"block-device-mapping.device-name":           ofMappings(func(m *cloud.Mapping) string { return m.Device }),
	"block-device-mapping.status":                ofMappings(func(*cloud.Mapping) string { return "attached" }),
	"block-device-mapping.volume-id":             ofMappings(func(m *cloud.Mapping) string { return m.VolumeID }),

	"instance.group-id":   ofPrimary(groupIDs),
	"instance.group-name": ofPrimary(groupNamesOf),
	"group-id":            ofPrimary(groupIDs),
	"group-name":          ofPrimary(groupNamesOf),
	"source-dest-check":   ofPrimary(func(n *nic) []string { return yesNo(!n.NoSourceDestCheck) }),
	"ip-address":          ofPrimary(publicIPs),
	"private-ip-address":  privateIP,
	"private-dns-name":    func(it *instanceItem) []string { return some(it.privateName) },
	"dns-name":            func(it *instanceItem) []string { return some(it.publicName) },
})

// nicFilters are those of an instance's network interfaces.
var nicFilters = query.Fields[*instanceItem]{
	"network-interface.addresses.association.allocation-id":     ofElastic(func(a *cloud.Address) string { return a.ID }),
	"network-interface.addresses.association.association-id":    ofElastic(func(a *cloud.Address) string { return a.AssociationID }),
	"network-interface.addresses.association.carrier-ip":        none,
	"network-interface.addresses.association.customer-owned-ip": none,
	"network-interface.addresses.association.ip-owner-id":       ofAddresses(addressOwner),
	"network-interface.addresses.association.public-dns-name":   publicNames,
	"network-interface.addresses.association.public-ip":         ofNICs(publicIPs),
	"network-interface.addresses.primary":                       ofNICs(primaries),
	"network-interface.addresses.private-dns-name":              privateNames,
	"network-interface.addresses.private-ip-address":            ofNICs(privateIPs),
	"network-interface.association.allocation-id":               ofElastic(func(a *cloud.Address) string { return a.ID }),
	"network-interface.association.association-id":              ofElastic(func(a *cloud.Address) string { return a.AssociationID }),
	"network-interface.association.carrier-ip":                  none,
	"network-interface.association.customer-owned-ip":           none,
	"network-interface.association.ip-owner-id":                 ofAddresses(addressOwner),
	"network-interface.association.public-dns-name":             publicNames,
	"network-interface.association.public-ip":                   ofNICs(publicIPs),
	"network-interface.attachment.attach-time":                  ofNICs(func(n *nic) []string { return instant(n.Attached) }),
	"network-interface.attachment.attachment-id":                ofNICs(func(n *nic) []string { return one(n.AttachmentID) }),
	"network-interface.attachment.delete-on-termination":        ofNICs(func(n *nic) []string { return yesNo(n.DeleteOnTermination) }),
	"network-interface.attachment.device-index":                 ofNICs(func(n *nic) []string { return number(n.DeviceIndex) }),
	"network-interface.attachment.instance-id":                  ofNICs(func(n *nic) []string { return one(n.InstanceID) }),
	"network-interface.attachment.instance-owner-id":            ofNICs(func(n *nic) []string { return one(n.AccountID) }),
	"network-interface.attachment.network-card-index":           ofNICs(func(*nic) []string { return one("0") }),
	"network-interface.attachment.status":                       ofNICs(func(*nic) []string { return one("attached") }),
	"network-interface.availability-zone":                       ofNICs(func(n *nic) []string { return one(n.Zone) }),
	"network-interface.deny-all-igw-traffic":                    ofNICs(func(*nic) []string { return one("false") }),
	"network-interface.description":                             ofNICs(func(n *nic) []string { return one(n.Description) }),
	"network-interface.group-id":                                ofNICs(groupIDs),
	"network-interface.group-name":                              ofNICs(groupNamesOf),
	"network-interface.ipv4-prefixes.ipv4-prefix":               none,
	"network-interface.ipv6-address":                            none,
	"network-interface.ipv6-addresses.ipv6-address":             none,
	"network-interface.ipv6-addresses.is-primary-ipv6":          none,
	"network-interface.ipv6-native":                             ofNICs(func(*nic) []string { return one("false") }),
	"network-interface.ipv6-prefixes.ipv6-prefix":               none,
	"network-interface.mac-address":                             ofNICs(func(n *nic) []string { return one(n.MAC) }),
	"network-interface.network-interface-id":                    ofNICs(func(n *nic) []string { return one(n.ID) }),
	"network-interface.operator.managed":                        ofNICs(func(*nic) []string { return one("false") }),
	"network-interface.operator.principal":                      none,
	"network-interface.outpost-arn":                             none,
	"network-interface.owner-id":                                ofNICs(func(n *nic) []string { return one(n.AccountID) }),
	"network-interface.private-dns-name":                        ofNICs(func(n *nic) []string { return one(n.privateName) }),
	"network-interface.private-ip-address":                      ofNICs(privateIPs),
	"network-interface.public-dns-name":                         func(it *instanceItem) []string { return some(it.publicName) },
	"network-interface.requester-id":                            none,
	"network-interface.requester-managed":                       ofNICs(func(*nic) []string { return one("false") }),
	"network-interface.source-dest-check":                       ofNICs(func(n *nic) []string { return yesNo(!n.NoSourceDestCheck) }),
	"network-interface.status":                                  ofNICs(func(*nic) []string { return one("in-use") }),
	"network-interface.subnet-id":                               ofNICs(func(n *nic) []string { return one(n.SubnetID) }),
	"network-interface.vpc-id":                                  ofNICs(func(n *nic) []string { return one(n.VpcID) }),
}

// join puts fields together; each name may be in one of them only.
func join[T any](all ...query.Fields[T]) query.Fields[T] {
	out := query.Fields[T]{}
	for _, f := range all {
		maps.Copy(out, f)
	}
	return out
}

func (it *instanceItem) reason() cloud.StateReason {
	if it.Reason == nil {
		return cloud.StateReason{}
	}
	return *it.Reason
}
