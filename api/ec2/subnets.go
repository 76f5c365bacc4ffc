package ec2

import (
	"context"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// A subnetRow is a subnet with how many addresses it has left.
type subnetRow struct {
	cloud.Subnet
	free int64
}

func subnetID(r *subnetRow) string { return r.ID }

// describeSubnets tells about subnets.
func (s *Server) describeSubnets(ctx context.Context, in *wire.DescribeSubnetsInput) (*wire.DescribeSubnetsOutput, error) {
	sel := selection{prefix: "subnet", ids: in.SubnetIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken}
	page, next, err := choose(ctx, s.DB, sel, s.subnetFilters(), subnetID, func(rx store.Rx) ([]subnetRow, error) {
		list, err := rx.Subnets(ctx, account(ctx), in.SubnetIds...)
		rows := make([]subnetRow, len(list))
		for i := range list {
			rows[i].Subnet = list[i]
			if err == nil {
				rows[i].free, err = rx.FreePrivateIPs(ctx, list[i])
			}
		}
		return rows, err
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeSubnetsOutput{NextToken: next, Subnets: make([]wire.Subnet, len(page))}
	for n := range page {
		r := &page[n].v
		out.Subnets[n] = wire.Subnet{
			SubnetId: &r.ID, SubnetArn: s.arn(r.AccountID, "subnet", r.ID), State: query.Ptr("available"), OwnerId: &r.AccountID, VpcId: &r.VpcID,
			CidrBlock: query.Ptr(r.CIDR.String()), AvailableIpAddressCount: &r.free,
			AvailabilityZone: &r.Zone, AvailabilityZoneId: query.Ptr(cloud.ZoneID(s.Cfg.Region, r.Zone)),
			DefaultForAz: &r.Default, MapPublicIpOnLaunch: &r.MapPublic, MapCustomerOwnedIpOnLaunch: query.Ptr(false),
			AssignIpv6AddressOnCreation: query.Ptr(false), Ipv6Native: query.Ptr(false), EnableDns64: query.Ptr(false),
			PrivateDnsNameOptionsOnLaunch: &wire.PrivateDnsNameOptionsOnLaunch{HostnameType: query.Ptr("ip-name"),
				EnableResourceNameDnsARecord: query.Ptr(false), EnableResourceNameDnsAAAARecord: query.Ptr(false)},
			Tags: wireTags(page[n].tags)}
	}
	return out, nil
}

// subnetFilters are EC2's filters for subnets; those of IPv6, Outposts and
// local network interfaces match nothing.
func (s *Server) subnetFilters() query.Fields[tagged[subnetRow]] {
	zone := field(func(r *subnetRow) string { return r.Zone })
	zoneID := field(func(r *subnetRow) string { return cloud.ZoneID(s.Cfg.Region, r.Zone) })
	cidr := field(func(r *subnetRow) string { return r.CIDR.String() })
	byDefault := truth(func(r *subnetRow) bool { return r.Default })
	none, no := always[subnetRow](""), always[subnetRow]("false")
	return query.Fields[tagged[subnetRow]]{
		"availability-zone":          zone,
		"availability-zone-id":       zoneID,
		"availabilityZone":           zone,
		"availabilityZoneId":         zoneID,
		"available-ip-address-count": fields(func(r *subnetRow) []string { return number(r.free) }),
		"cidr":                       cidr,
		"cidr-block":                 cidr,
		"cidrBlock":                  cidr,
		"customer-owned-ipv4-pool":   none,
		"default-for-az":             byDefault,
		"defaultForAz":               byDefault,
		"enable-dns64":               no,
		"enable-lni-at-device-index": none,
		"ipv6-cidr-block-association.association-id":  none,
		"ipv6-cidr-block-association.ipv6-cidr-block": none,
		"ipv6-cidr-block-association.state":           none,
		"ipv6-native":                                 no,
		"map-customer-owned-ip-on-launch":             no,
		"map-public-ip-on-launch":                     truth(func(r *subnetRow) bool { return r.MapPublic }),
		"outpost-arn":                                 none,
		"owner-id":                                    field(func(r *subnetRow) string { return r.AccountID }),
		"private-dns-name-options-on-launch.enable-resource-name-dns-a-record":    no,
		"private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": no,
		"private-dns-name-options-on-launch.hostname-type":                        always[subnetRow]("ip-name"),
		"state":      always[subnetRow]("available"),
		"subnet-arn": field(func(r *subnetRow) string { return *s.arn(r.AccountID, "subnet", r.ID) }),
		"subnet-id":  field(subnetID),
		"vpc-id":     field(func(r *subnetRow) string { return r.VpcID }),
	}
}
