package ec2

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// A nicSpec is an interface that an instance shall have.
type nicSpec struct {
	index       int64
	existing    string // id of an interface to attach
	subnetID    string // "" for the default subnet of the zone
	groups      []string
	groupNames  []string
	ip          netip.Addr // the zero one for any
	secondary   []netip.Addr
	more        int // secondary addresses of our choice
	description string
	keep        bool  // outlives the instance
	public      *bool // nil for what the subnet says
}

// A nicPlan is a nicSpec with what it names.
type nicPlan struct {
	nicSpec
	subnet  cloud.Subnet
	groups  []string // ids
	eni     cloud.Interface
	attach  bool // eni exists
	publicN bool // gets a public address
}

// readNICs reads the interfaces of a request: its NetworkInterface blocks, or
// the parameters for the only one.
func (l *launch) readNICs(in *wire.RunInstancesInput) error {
	if len(in.NetworkInterfaces) == 0 {
		n := nicSpec{subnetID: query.Val(in.SubnetId), groups: in.SecurityGroupIds}
		for _, name := range in.SecurityGroups {
			if cloud.CheckID("sg", name) == nil { // tools of EC2-Classic's time put ids here
				n.groups = append(n.groups, name)
			} else {
				n.groupNames = append(n.groupNames, name)
			}
		}
		var err error
		if v := query.Val(in.PrivateIpAddress); v != "" {
			if n.ip, err = parseIPv4("privateIpAddress", v); err != nil {
				return err
			}
		}
		l.nics = []nicSpec{n}
		return l.checkNICs()
	}
	both := func(what string) error {
		return cloud.Faultf("InvalidParameterCombination", "Network interfaces and an instance-level %s may not be specified on the same request", what)
	}
	switch {
	case query.Val(in.SubnetId) != "":
		return both("subnet ID")
	case len(in.SecurityGroupIds)+len(in.SecurityGroups) > 0:
		return both("security groups")
	case query.Val(in.PrivateIpAddress) != "":
		return both("private IP address")
	}
	for i := range in.NetworkInterfaces {
		n, err := readNIC(&in.NetworkInterfaces[i])
		if err != nil {
			return err
		}
		l.nics = append(l.nics, n)
	}
	slices.SortFunc(l.nics, func(a, b nicSpec) int { return int(a.index - b.index) })
	return l.checkNICs()
}

// readNIC reads one NetworkInterface block.
func readNIC(in *wire.InstanceNetworkInterfaceSpecification) (n nicSpec, err error) {
	switch {
	case in.DeviceIndex == nil:
		return n, missing("NetworkInterface.DeviceIndex")
	case query.Val(in.Ipv6AddressCount) > 0 || len(in.Ipv6Addresses) > 0 || query.Val(in.Ipv6PrefixCount) > 0 || len(in.Ipv6Prefixes) > 0 || query.Val(in.PrimaryIpv6):
		return n, unsupported("An IPv6 address")
	case query.Val(in.Ipv4PrefixCount) > 0 || len(in.Ipv4Prefixes) > 0:
		return n, unsupported("An IPv4 prefix of an interface")
	case query.Val(in.InterfaceType) != "" && *in.InterfaceType != "interface":
		return n, unsupported("The interface type '" + clip(*in.InterfaceType) + "'")
	case query.Val(in.NetworkCardIndex) != 0:
		return n, unsupported("A NetworkCardIndex other than 0")
	case query.Val(in.AssociateCarrierIpAddress) || in.EnaSrdSpecification != nil || in.ConnectionTrackingSpecification != nil || in.EnaQueueCount != nil:
		return n, unsupported("A carrier address, ENA Express or connection tracking setting of an interface")
	}
	if query.Val(in.SecondaryPrivateIpAddressCount) < 0 {
		return n, cloud.Faultf("InvalidParameterValue", "Value (%d) for parameter secondaryPrivateIpAddressCount is invalid. It is 0 or more.", *in.SecondaryPrivateIpAddressCount)
	}
	n = nicSpec{index: *in.DeviceIndex, existing: query.Val(in.NetworkInterfaceId), subnetID: query.Val(in.SubnetId), groups: in.Groups,
		description: query.Val(in.Description), public: in.AssociatePublicIpAddress, more: int(min(query.Val(in.SecondaryPrivateIpAddressCount), 1<<16))}
	n.keep = in.DeleteOnTermination != nil && !*in.DeleteOnTermination || in.DeleteOnTermination == nil && n.existing != ""
	if n.existing != "" {
		if n.subnetID != "" || len(n.groups) > 0 || query.Val(in.PrivateIpAddress) != "" || len(in.PrivateIpAddresses) > 0 || n.more > 0 || n.public != nil {
			return n, cloud.Faultf("InvalidParameterCombination", "The interface '%s' exists already and has its subnet, groups and addresses.", clip(n.existing))
		}
		return n, cloud.CheckID("eni", n.existing)
	}
	if v := query.Val(in.PrivateIpAddress); v != "" {
		if n.ip, err = parseIPv4("privateIpAddress", v); err != nil {
			return n, err
		}
	}
	if n.more > 0 && slices.ContainsFunc(in.PrivateIpAddresses, func(a wire.PrivateIpAddressSpecification) bool { return !query.Val(a.Primary) }) {
		return n, cloud.Faultf("InvalidParameterCombination", "Secondary private IP addresses can be listed or counted, not both in one network interface.")
	}
	for _, a := range in.PrivateIpAddresses {
		ip, err := parseIPv4("privateIpAddress", query.Val(a.PrivateIpAddress))
		if err != nil {
			return n, err
		}
		switch {
		case !query.Val(a.Primary):
			n.secondary = append(n.secondary, ip)
		case n.ip.IsValid() && n.ip != ip:
			return n, cloud.Faultf("InvalidParameterCombination", "Only one primary private IP address can be specified.")
		default:
			n.ip = ip
		}
	}
	return n, nil
}

// checkNICs checks what holds for all interfaces together.
func (l *launch) checkNICs() error {
	if most := l.typ.MaxInterfaces(); len(l.nics) > most {
		return cloud.Faultf("AttachmentLimitExceeded", "Interface count %d exceeds the limit for %s, which is %d.", len(l.nics), l.typ.Name, most)
	}
	for i := range l.nics {
		n := &l.nics[i]
		switch {
		case n.index != int64(i):
			return cloud.Faultf("InvalidParameterValue", "The device indices of the network interfaces must be 0, 1, 2 and so on, each once.")
		case query.Val(n.public) && len(l.nics) > 1:
			return cloud.Faultf("InvalidParameterCombination", "The associatePublicIPAddress parameter can only be specified for an instance with one network interface.")
		case l.max > 1 && (n.ip.IsValid() || len(n.secondary) > 0 || n.existing != ""):
			return cloud.Faultf("InvalidParameterCombination", "A private address or an existing network interface can be given to one instance only; maxCount is %d.", l.max)
		case len(n.groups)+len(n.groupNames) > maxGroups:
			return cloud.Faultf("SecurityGroupsPerInterfaceLimitExceeded", "An interface is in up to %d security groups.", maxGroups)
		case len(n.secondary)+n.more > maxSecondary:
			return cloud.Faultf("PrivateIpAddressLimitExceeded", "An interface has up to %d private addresses.", maxSecondary+1)
		}
		if err := checkIDs("sg", n.groups...); err != nil {
			return err
		}
		if n.subnetID != "" {
			if err := checkIDs("subnet", n.subnetID); err != nil {
				return err
			}
		}
	}
	return nil
}

// subnetsFor returns the subnets in one of which the primary interface may be.
func (l *launch) subnetsFor(ctx context.Context, tx store.Tx, account string) ([]cloud.Subnet, error) {
	n := l.nics[0]
	id := n.subnetID
	if n.existing != "" {
		eni, err := tx.Interface(ctx, account, n.existing)
		if err != nil {
			return nil, err
		}
		id = eni.SubnetID
	}
	if id != "" {
		sub, err := tx.Subnet(ctx, account, id)
		if err == nil && l.zone != "" && sub.Zone != l.zone {
			err = cloud.Faultf("InvalidParameterValue", "The subnet '%s' is in zone %s, not in %s.", id, sub.Zone, clip(l.zone))
		}
		return []cloud.Subnet{sub}, err
	}
	vpc, err := tx.DefaultVpc(ctx, account)
	if err != nil {
		return nil, err
	}
	all, err := tx.SubnetsOfVpc(ctx, vpc.ID)
	if err != nil {
		return nil, err
	}
	subs := keep(all, func(sub cloud.Subnet) bool { return sub.Default && (l.zone == "" || sub.Zone == l.zone) })
	switch {
	case len(subs) > 0:
		return subs, nil
	case l.zone != "":
		return nil, cloud.Faultf("InvalidParameterValue", "Invalid availability zone: [%s]", clip(l.zone))
	}
	return nil, cloud.Faultf("MissingInput", "No default subnet exists; name a subnet.")
}

// planNICs resolves what the interfaces name, the primary one being in sub.
func (l *launch) planNICs(ctx context.Context, tx store.Tx, account string, sub cloud.Subnet) ([]nicPlan, error) {
	plans := make([]nicPlan, len(l.nics))
	for i, n := range l.nics {
		p := nicPlan{nicSpec: n, subnet: sub}
		var err error
		switch {
		case n.existing != "":
			if p.eni, err = freeInterface(ctx, tx, account, n.existing); err != nil {
				return nil, err
			}
			p.attach, n.subnetID = true, p.eni.SubnetID
			fallthrough
		case i > 0 && n.subnetID != "":
			if p.subnet, err = tx.Subnet(ctx, account, n.subnetID); err != nil {
				return nil, err
			}
		}
		if p.subnet.Zone != sub.Zone || p.subnet.VpcID != sub.VpcID {
			return nil, cloud.Faultf("InvalidParameterCombination", "All interfaces of an instance must be in one zone and one VPC; '%s' and '%s' are not.", sub.ID, p.subnet.ID)
		}
		if !p.attach {
			if p.groups, err = resolveGroups(ctx, tx, account, p.subnet.VpcID, n.groups, n.groupNames); err != nil {
				return nil, err
			}
			for _, ip := range append(n.secondary, n.ip) {
				if err := checkInSubnet(p.subnet, ip); err != nil {
					return nil, err
				}
			}
			// Without a pool the subnet's wish comes to nothing; the caller's is
			// refused. One of several interfaces gets none by itself (EC2 docs:
			// "Public IPv4 addresses").
			p.publicN = query.Val(n.public) || n.public == nil && len(l.nics) == 1 && p.subnet.MapPublic && l.public.Prefix.IsValid()
		}
		plans[i] = p
	}
	return plans, nil
}

// freeInterface returns an interface that can be attached.
func freeInterface(ctx context.Context, tx store.Tx, account, id string) (cloud.Interface, error) {
	eni, err := tx.Interface(ctx, account, id)
	if err == nil && eni.InstanceID != "" {
		err = cloud.Faultf("InvalidNetworkInterface.InUse", "Interface: [%s] in use.", id)
	}
	return eni, err
}

// resolveGroups returns the ids of the security groups of an interface in vpc,
// which are its default group when none is named.
func resolveGroups(ctx context.Context, tx store.Tx, account, vpc string, ids, names []string) ([]string, error) {
	if len(ids)+len(names) == 0 {
		names = []string{"default"}
	}
	var out []string
	for _, id := range ids {
		g, err := tx.Group(ctx, account, id)
		if err != nil {
			return nil, err
		}
		if g.VpcID != vpc {
			return nil, cloud.Faultf("InvalidParameter", "Security group %s and the interface belong to different networks.", id)
		}
		out = append(out, id)
	}
	for _, name := range names {
		g, err := tx.GroupByName(ctx, account, vpc, name)
		if err != nil {
			return nil, err
		}
		out = append(out, g.ID)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// checkInSubnet checks an address that the caller chose; the first four of a
// subnet and the last are reserved (EC2 docs: "Subnet sizing").
func checkInSubnet(sub cloud.Subnet, ip netip.Addr) error {
	if !ip.IsValid() {
		return nil
	}
	if !sub.CIDR.Contains(ip) {
		return cloud.Faultf("InvalidParameterValue", "Address %s does not fall within the subnet's address range %s", ip, sub.CIDR)
	}
	base, a := sub.CIDR.Masked().Addr().As4(), ip.As4()
	at := binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(base[:])
	if at < 4 || at == 1<<(32-sub.CIDR.Bits())-1 {
		return cloud.Faultf("InvalidParameterValue", "Address %s is in subnet's reserved address range", ip)
	}
	return nil
}

// macOf returns the MAC address of an interface: locally administered, made of
// the id, so that it is known wherever the id is; of its end, for ids that were
// made together begin alike.
func macOf(eni string) string {
	hex := "0000000000" + strings.TrimPrefix(eni, "eni-")
	hex = hex[len(hex)-10:]
	return "02:" + hex[0:2] + ":" + hex[2:4] + ":" + hex[4:6] + ":" + hex[6:8] + ":" + hex[8:10]
}
