package ec2

import (
	"context"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// describeAddressesAttribute tells the reverse DNS name of Elastic IPs: none
// has one here. Terraform's aws_eip asks each time it reads an address.
func (s *Server) describeAddressesAttribute(ctx context.Context, in *wire.DescribeAddressesAttributeInput) (*wire.DescribeAddressesAttributeOutput, error) {
	if name := query.Val(in.Attribute); name != "" && name != "domain-name" {
		return nil, invalid("attribute", name, "It is domain-name.")
	}
	sel := selection{prefix: "eipalloc", ids: in.AllocationIds}
	list, _, err := choose(ctx, s.DB, sel, nil, addressID, func(rx store.Rx) ([]cloud.Address, error) {
		return elasticIPs(ctx, rx, in.AllocationIds, nil)
	})
	if err != nil {
		return nil, err
	}
	page, next, err := query.Page(ctx, list, func(a tagged[cloud.Address]) string { return a.v.ID }, in.MaxResults, in.NextToken, query.Limit{Max: 1000})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeAddressesAttributeOutput{NextToken: next, Addresses: make([]wire.AddressAttribute, len(page))}
	for n := range page {
		a := &page[n].v
		out.Addresses[n] = wire.AddressAttribute{PublicIp: query.Ptr(a.IP.String()), AllocationId: &a.ID}
	}
	return out, nil
}
