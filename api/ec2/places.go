package ec2

import (
	"context"
	"slices"
	"strconv"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// describeRegions tells about the one region there is.
func (s *Server) describeRegions(_ context.Context, in *wire.DescribeRegionsInput) (*wire.DescribeRegionsOutput, error) {
	endpoint := s.Cfg.Endpoint
	match, err := query.Compile(wire.Filters(in.Filters), query.Fields[string]{
		"region-name":    one,
		"endpoint":       func(string) []string { return one(endpoint) },
		"opt-in-status":  func(string) []string { return one("opt-in-not-required") },
		"geography.name": func(string) []string { return nil },
	}, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range in.RegionNames {
		if name != s.Cfg.Region {
			return nil, invalid("RegionName", name, "The only region is "+s.Cfg.Region+".")
		}
	}
	out := &wire.DescribeRegionsOutput{}
	for _, name := range keep([]string{s.Cfg.Region}, match) {
		out.Regions = append(out.Regions, wire.Region{RegionName: &name, Endpoint: &endpoint, OptInStatus: query.Ptr("opt-in-not-required")})
	}
	return out, nil
}

// describeAvailabilityZones tells about the zones: those with a node in
// service are available.
func (s *Server) describeAvailabilityZones(ctx context.Context, in *wire.DescribeAvailabilityZonesInput) (*wire.DescribeAvailabilityZonesOutput, error) {
	serves, own := map[string]bool{}, map[string]bool{} // by zone: has a node in service, has public addresses of its own
	err := s.DB.Read(ctx, func(rx store.Rx) error {
		nodes, err := rx.Nodes(ctx)
		for _, n := range nodes {
			serves[n.Zone] = serves[n.Zone] || !n.Cordoned && !n.Lost
		}
		if err != nil {
			return err
		}
		ranges, err := rx.PublicRanges(ctx, s.Cfg.PublicPool)
		for _, r := range ranges {
			own[r.Zone] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	state := func(zone string) string {
		if serves[zone] {
			return "available"
		}
		return "unavailable"
	}
	border := func(zone string) string {
		if own[zone] {
			return s.groupName(zone)
		}
		return s.Cfg.Region
	}
	id := func(zone string) string { return cloud.ZoneID(s.Cfg.Region, zone) }
	is := func(v string) func(string) []string { return func(string) []string { return one(v) } }
	match, err := query.Compile(wire.Filters(in.Filters), query.Fields[string]{
		"group-long-name":      is(s.Cfg.Region),
		"group-name":           is(s.Cfg.Region),
		"message":              func(string) []string { return nil },
		"opt-in-status":        is("opt-in-not-required"),
		"parent-zone-id":       func(string) []string { return nil },
		"parent-zone-name":     func(string) []string { return nil },
		"region-name":          is(s.Cfg.Region),
		"state":                func(z string) []string { return one(state(z)) },
		"zone-id":              func(z string) []string { return one(id(z)) },
		"zone-name":            one,
		"zone-type":            is("availability-zone"),
		"network-border-group": func(z string) []string { return one(border(z)) },
	}, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range in.ZoneNames {
		if !slices.Contains(s.Cfg.Zones(), name) {
			return nil, cloud.Faultf("InvalidParameterValue", "Invalid availability zone: [%s]", clip(name))
		}
	}
	for _, want := range in.ZoneIds {
		if !slices.ContainsFunc(s.Cfg.Zones(), func(z string) bool { return id(z) == want }) {
			return nil, cloud.Faultf("InvalidParameterValue", "Invalid availability zone-id: [%s]", clip(want))
		}
	}
	out := &wire.DescribeAvailabilityZonesOutput{}
	for _, zone := range keep(slices.Clone(s.Cfg.Zones()), match) {
		if len(in.ZoneNames)+len(in.ZoneIds) > 0 && !slices.Contains(in.ZoneNames, zone) && !slices.Contains(in.ZoneIds, id(zone)) {
			continue
		}
		out.AvailabilityZones = append(out.AvailabilityZones, wire.AvailabilityZone{
			ZoneName: &zone, ZoneId: query.Ptr(id(zone)), State: query.Ptr(state(zone)), RegionName: &s.Cfg.Region,
			ZoneType: query.Ptr("availability-zone"), GroupName: &s.Cfg.Region, GroupLongName: &s.Cfg.Region,
			NetworkBorderGroup: query.Ptr(border(zone)), OptInStatus: query.Ptr("opt-in-not-required")})
	}
	return out, nil
}

// describeAccountAttributes tells what the account may do.
func (s *Server) describeAccountAttributes(ctx context.Context, in *wire.DescribeAccountAttributesInput) (*wire.DescribeAccountAttributesOutput, error) {
	vpc, pool := "none", 0
	err := s.DB.Read(ctx, func(rx store.Rx) error {
		ranges, err := rx.PublicRanges(ctx, s.Cfg.PublicPool)
		if err != nil {
			return err
		}
		for _, r := range ranges {
			pool += r.Size()
		}
		v, err := rx.DefaultVpc(ctx, account(ctx))
		switch {
		case cloud.FaultCode(err) == "VPCIdNotSpecified":
			return nil
		case err != nil:
			return err
		}
		vpc = v.ID
		return nil
	})
	if err != nil {
		return nil, err
	}
	values := []struct{ name, value string }{
		{"supported-platforms", "VPC"},
		{"default-vpc", vpc},
		{"max-instances", strconv.Itoa(1 << 20)},
		{"vpc-max-security-groups-per-interface", strconv.Itoa(maxGroups)},
		{"max-elastic-ips", strconv.Itoa(pool)},
		{"vpc-max-elastic-ips", strconv.Itoa(pool)},
	}
	for _, name := range in.AttributeNames {
		if !slices.ContainsFunc(values, func(v struct{ name, value string }) bool { return v.name == name }) {
			return nil, invalid("AttributeName", name, "An account has no such attribute.")
		}
	}
	out := &wire.DescribeAccountAttributesOutput{}
	for _, v := range values {
		if len(in.AttributeNames) > 0 && !slices.Contains(in.AttributeNames, v.name) {
			continue
		}
		out.AccountAttributes = append(out.AccountAttributes, wire.AccountAttribute{AttributeName: &v.name,
			AttributeValues: []wire.AccountAttributeValue{{AttributeValue: &v.value}}})
	}
	return out, nil
}
