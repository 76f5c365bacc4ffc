package ec2

import (
	"context"
	"strconv"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

func gatewayID(g *cloud.Gateway) string { return g.ID }

// describeInternetGateways tells about internet gateways.
func (s *Server) describeInternetGateways(ctx context.Context, in *wire.DescribeInternetGatewaysInput) (*wire.DescribeInternetGatewaysOutput, error) {
	sel := selection{prefix: "igw", ids: in.InternetGatewayIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken}
	page, next, err := choose(ctx, s.DB, sel, gatewayFilters, gatewayID, func(rx store.Rx) ([]cloud.Gateway, error) {
		return rx.Gateways(ctx, account(ctx), in.InternetGatewayIds...)
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeInternetGatewaysOutput{NextToken: next, InternetGateways: make([]wire.InternetGateway, len(page))}
	for n := range page {
		g := &page[n].v
		w := wire.InternetGateway{InternetGatewayId: &g.ID, OwnerId: &g.AccountID, Tags: wireTags(page[n].tags)}
		if g.VpcID != "" {
			w.Attachments = []wire.InternetGatewayAttachment{{VpcId: &g.VpcID, State: query.Ptr("available")}}
		}
		out.InternetGateways[n] = w
	}
	return out, nil
}

var gatewayFilters = query.Fields[tagged[cloud.Gateway]]{
	"attachment.state": field(func(g *cloud.Gateway) string {
		if g.VpcID == "" {
			return ""
		}
		return "available"
	}),
	"attachment.vpc-id":   field(func(g *cloud.Gateway) string { return g.VpcID }),
	"internet-gateway-id": field(gatewayID),
	"owner-id":            field(func(g *cloud.Gateway) string { return g.AccountID }),
}

// A routeTableRow is a route table with the subnets that name it.
type routeTableRow struct {
	cloud.RouteTable
	associations []wire.RouteTableAssociation
}

func routeTableID(r *routeTableRow) string { return r.ID }

// describeRouteTables tells about route tables.
func (s *Server) describeRouteTables(ctx context.Context, in *wire.DescribeRouteTablesInput) (*wire.DescribeRouteTablesOutput, error) {
	sel := selection{prefix: "rtb", ids: in.RouteTableIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken}
	page, next, err := choose(ctx, s.DB, sel, routeTableFilters, routeTableID, func(rx store.Rx) ([]routeTableRow, error) {
		list, err := rx.RouteTables(ctx, account(ctx), in.RouteTableIds...)
		if err != nil {
			return nil, err
		}
		subnets, err := rx.Subnets(ctx, account(ctx))
		rows := make([]routeTableRow, len(list))
		for i := range list {
			rows[i] = routeTableRow{list[i], associationsOf(&list[i], subnets)}
		}
		return rows, err
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeRouteTablesOutput{NextToken: next, RouteTables: make([]wire.RouteTable, len(page))}
	for n := range page {
		r := &page[n].v
		out.RouteTables[n] = wire.RouteTable{RouteTableId: &r.ID, VpcId: &r.VpcID, OwnerId: &r.AccountID,
			Routes: wireRoutes(r.Routes), Associations: r.associations, Tags: wireTags(page[n].tags)}
	}
	return out, nil
}

// associationsOf returns what a route table is for: for all subnets that name
// none, when it is the main one, and for those that name it.
func associationsOf(r *cloud.RouteTable, subnets []cloud.Subnet) []wire.RouteTableAssociation {
	state := &wire.RouteTableAssociationState{State: query.Ptr("associated")}
	var out []wire.RouteTableAssociation
	if r.Main {
		out = append(out, wire.RouteTableAssociation{RouteTableAssociationId: &r.AssociationID, RouteTableId: &r.ID, Main: query.Ptr(true), AssociationState: state})
	}
	for i := range subnets {
		if sub := &subnets[i]; sub.RouteTableID == r.ID {
			out = append(out, wire.RouteTableAssociation{RouteTableAssociationId: query.Ptr("rtbassoc-" + strings.TrimPrefix(sub.ID, "subnet-")),
				RouteTableId: &r.ID, SubnetId: &sub.ID, Main: query.Ptr(false), AssociationState: state})
		}
	}
	return out
}

func wireRoutes(routes []cloud.Route) []wire.Route {
	out := make([]wire.Route, len(routes))
	for i := range routes {
		r := &routes[i]
		out[i] = wire.Route{GatewayId: &r.Gateway, State: query.Ptr("active"), Origin: &r.Origin}
		if d := query.Ptr(r.Dest.String()); r.Dest.Addr().Is4() {
			out[i].DestinationCidrBlock = d
		} else {
			out[i].DestinationIpv6CidrBlock = d
		}
	}
	return out
}

// routeTableFilters are EC2's filters for route tables. Those of targets that
// routes here never have match nothing.
var routeTableFilters = func() query.Fields[tagged[routeTableRow]] {
	associations := func(get func(*wire.RouteTableAssociation) string) func(tagged[routeTableRow]) []string {
		return fields(func(r *routeTableRow) []string { return each(r.associations, get) })
	}
	routes := func(get func(*cloud.Route) string) func(tagged[routeTableRow]) []string {
		return fields(func(r *routeTableRow) []string { return each(r.Routes, get) })
	}
	dest := func(v4 bool) func(*cloud.Route) string {
		return func(r *cloud.Route) string {
			if r.Dest.Addr().Is4() != v4 {
				return ""
			}
			return r.Dest.String()
		}
	}
	out := query.Fields[tagged[routeTableRow]]{
		"association.gateway-id":                 associations(func(*wire.RouteTableAssociation) string { return "" }),
		"association.main":                       associations(func(a *wire.RouteTableAssociation) string { return strconv.FormatBool(*a.Main) }),
		"association.route-table-association-id": associations(func(a *wire.RouteTableAssociation) string { return *a.RouteTableAssociationId }),
		"association.route-table-id":             associations(func(a *wire.RouteTableAssociation) string { return *a.RouteTableId }),
		"association.subnet-id":                  associations(func(a *wire.RouteTableAssociation) string { return query.Val(a.SubnetId) }),
		"owner-id":                               field(func(r *routeTableRow) string { return r.AccountID }),
		"route-table-id":                         field(routeTableID),
		"route.destination-cidr-block":           routes(dest(true)),
		"route.destination-ipv6-cidr-block":      routes(dest(false)),
		"route.gateway-id":                       routes(func(r *cloud.Route) string { return r.Gateway }),
		"route.origin":                           routes(func(r *cloud.Route) string { return r.Origin }),
		"route.state":                            routes(func(*cloud.Route) string { return "active" }),
		"vpc-id":                                 field(func(r *routeTableRow) string { return r.VpcID }),
	}
	for _, name := range []string{"destination-prefix-list-id", "egress-only-internet-gateway-id", "instance-id", "nat-gateway-id", "transit-gateway-id", "vpc-peering-connection-id"} {
		out["route."+name] = always[routeTableRow]("")
	}
	return out
}()
