package ec2

import (
	"context"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

func vpcID(v *cloud.Vpc) string { return v.ID }

// describeVpcs tells about VPCs.
func (s *Server) describeVpcs(ctx context.Context, in *wire.DescribeVpcsInput) (*wire.DescribeVpcsOutput, error) {
	sel := selection{prefix: "vpc", ids: in.VpcIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken}
	page, next, err := choose(ctx, s.DB, sel, vpcFilters, vpcID, func(rx store.Rx) ([]cloud.Vpc, error) {
		return rx.Vpcs(ctx, account(ctx), in.VpcIds...)
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeVpcsOutput{NextToken: next, Vpcs: make([]wire.Vpc, len(page))}
	for n := range page {
		v := &page[n].v
		cidr := v.CIDR.String()
		out.Vpcs[n] = wire.Vpc{
			VpcId: &v.ID, OwnerId: &v.AccountID, State: query.Ptr("available"), CidrBlock: &cidr, DhcpOptionsId: &v.DhcpOptionsID,
			CidrBlockAssociationSet: []wire.VpcCidrBlockAssociation{{AssociationId: query.Ptr(cidrAssociation(v)), CidrBlock: &cidr,
				CidrBlockState: &wire.VpcCidrBlockState{State: query.Ptr("associated")}}},
			InstanceTenancy: query.Ptr("default"), IsDefault: &v.Default, Tags: wireTags(page[n].tags)}
	}
	return out, nil
}

// cidrAssociation returns the id of what joins a VPC to its only range.
func cidrAssociation(v *cloud.Vpc) string {
	return "vpc-cidr-assoc-" + strings.TrimPrefix(v.ID, "vpc-")
}

// vpcFilters are EC2's filters for VPCs; those of IPv6 ranges, which there are
// none of, match nothing.
var vpcFilters = query.Fields[tagged[cloud.Vpc]]{
	"cidr":                                  field(func(v *cloud.Vpc) string { return v.CIDR.String() }),
	"cidr-block":                            field(func(v *cloud.Vpc) string { return v.CIDR.String() }),
	"cidr-block-association.association-id": field(cidrAssociation),
	"cidr-block-association.cidr-block":     field(func(v *cloud.Vpc) string { return v.CIDR.String() }),
	"cidr-block-association.state":          always[cloud.Vpc]("associated"),
	"cidrBlock":                             field(func(v *cloud.Vpc) string { return v.CIDR.String() }),
	"dhcp-options-id":                       field(func(v *cloud.Vpc) string { return v.DhcpOptionsID }),
	"dhcpOptionsId":                         field(func(v *cloud.Vpc) string { return v.DhcpOptionsID }),
	"ipv6-cidr-block-association.association-id":  always[cloud.Vpc](""),
	"ipv6-cidr-block-association.ipv6-cidr-block": always[cloud.Vpc](""),
	"ipv6-cidr-block-association.ipv6-pool":       always[cloud.Vpc](""),
	"ipv6-cidr-block-association.state":           always[cloud.Vpc](""),
	"is-default":                                  truth(func(v *cloud.Vpc) bool { return v.Default }),
	"isDefault":                                   truth(func(v *cloud.Vpc) bool { return v.Default }),
	"owner-id":                                    field(func(v *cloud.Vpc) string { return v.AccountID }),
	"state":                                       always[cloud.Vpc]("available"),
	"vpc-id":                                      field(vpcID),
}

// describeVpcAttribute tells about one attribute of a VPC.
func (s *Server) describeVpcAttribute(ctx context.Context, in *wire.DescribeVpcAttributeInput) (*wire.DescribeVpcAttributeOutput, error) {
	id, attribute := query.Val(in.VpcId), query.Val(in.Attribute)
	if err := checkIDs("vpc", id); err != nil {
		return nil, err
	}
	var v cloud.Vpc
	err := s.DB.Read(ctx, func(rx store.Rx) (err error) {
		v, err = rx.Vpc(ctx, account(ctx), id)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeVpcAttributeOutput{VpcId: &v.ID}
	switch attribute {
	case "enableDnsSupport":
		out.EnableDnsSupport = &wire.AttributeBooleanValue{Value: &v.DNSSupport}
	case "enableDnsHostnames":
		out.EnableDnsHostnames = &wire.AttributeBooleanValue{Value: &v.DNSHostnames}
	case "enableNetworkAddressUsageMetrics":
		out.EnableNetworkAddressUsageMetrics = &wire.AttributeBooleanValue{Value: query.Ptr(false)}
	default:
		return nil, invalid("attribute", attribute, "It is enableDnsSupport, enableDnsHostnames or enableNetworkAddressUsageMetrics.")
	}
	return out, nil
}

// describeVpcClassicLink says of each VPC that no EC2-Classic is linked to it:
// Ansible's amazon.aws.ec2_vpc_net asks.
func (s *Server) describeVpcClassicLink(ctx context.Context, in *wire.DescribeVpcClassicLinkInput) (*wire.DescribeVpcClassicLinkOutput, error) {
	sel := selection{prefix: "vpc", ids: in.VpcIds, filters: in.Filters}
	page, _, err := choose(ctx, s.DB, sel, query.Fields[tagged[cloud.Vpc]]{"is-classic-link-enabled": always[cloud.Vpc]("false")}, vpcID,
		func(rx store.Rx) ([]cloud.Vpc, error) { return rx.Vpcs(ctx, account(ctx), in.VpcIds...) })
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeVpcClassicLinkOutput{Vpcs: make([]wire.VpcClassicLink, len(page))}
	for n := range page {
		out.Vpcs[n] = wire.VpcClassicLink{VpcId: &page[n].v.ID, ClassicLinkEnabled: query.Ptr(false), Tags: wireTags(page[n].tags)}
	}
	return out, nil
}

// describeDhcpOptions tells about the DHCP options of VPCs. Each VPC has a set
// of its own, which is what the cloud's DHCP gives.
func (s *Server) describeDhcpOptions(ctx context.Context, in *wire.DescribeDhcpOptionsInput) (*wire.DescribeDhcpOptionsOutput, error) {
	config := []struct{ key, value string }{
		{"domain-name", cloud.PrivateDomain(s.Cfg.Region)},
		{"domain-name-servers", "AmazonProvidedDNS"},
	}
	id := func(v *cloud.Vpc) string { return v.DhcpOptionsID }
	sel := selection{prefix: "dopt", ids: in.DhcpOptionsIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken}
	page, next, err := choose(ctx, s.DB, sel, query.Fields[tagged[cloud.Vpc]]{
		"dhcp-options-id": field(id),
		"key":             fields(func(*cloud.Vpc) []string { return []string{config[0].key, config[1].key} }),
		"owner-id":        field(func(v *cloud.Vpc) string { return v.AccountID }),
		"value":           fields(func(*cloud.Vpc) []string { return []string{config[0].value, config[1].value} }),
	}, id, func(rx store.Rx) ([]cloud.Vpc, error) {
		vpcs, err := rx.Vpcs(ctx, account(ctx))
		if err != nil || len(in.DhcpOptionsIds) == 0 {
			return vpcs, err
		}
		return pick(vpcs, in.DhcpOptionsIds, id)
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeDhcpOptionsOutput{NextToken: next, DhcpOptions: make([]wire.DhcpOptions, len(page))}
	for n := range page {
		v := &page[n].v
		w := wire.DhcpOptions{DhcpOptionsId: &v.DhcpOptionsID, OwnerId: &v.AccountID, Tags: wireTags(page[n].tags)}
		for i := range config {
			w.DhcpConfigurations = append(w.DhcpConfigurations, wire.DhcpConfiguration{Key: &config[i].key, Values: []wire.AttributeValue{{Value: &config[i].value}}})
		}
		out.DhcpOptions[n] = w
	}
	return out, nil
}

// pick returns the things with these ids, each of which must be in list.
func pick[T any](list []T, ids []string, id func(*T) string) ([]T, error) {
	at := make(map[string]int, len(list))
	for i := range list {
		at[id(&list[i])] = i
	}
	out := make([]T, 0, len(ids))
	for _, want := range ids {
		i, ok := at[want]
		if !ok {
			return nil, cloud.NotFound(want)
		}
		out = append(out, list[i])
	}
	return out, nil
}
