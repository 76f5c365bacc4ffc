package store

import (
	"context"
	"errors"
	"fmt"

	"eucad/store/cloud"
)

var (
	vpcs = newTable("vpc", func(v *cloud.Vpc) string { return v.ID }, func(v *cloud.Vpc) string { return v.AccountID },
		"is_default, vni", func(v *cloud.Vpc) []any {
			d := 0
			if v.Default {
				d = 1
			}
			return []any{d, v.VNI}
		})
	subnets = newTable("subnet", func(s *cloud.Subnet) string { return s.ID }, func(s *cloud.Subnet) string { return s.AccountID },
		"vpc_id, zone", func(s *cloud.Subnet) []any { return []any{s.VpcID, s.Zone} })
	gateways = newTable("gateway", func(g *cloud.Gateway) string { return g.ID }, func(g *cloud.Gateway) string { return g.AccountID },
		"vpc_id", func(g *cloud.Gateway) []any { return []any{g.VpcID} })
	routeTables = newTable("route_table", func(r *cloud.RouteTable) string { return r.ID }, func(r *cloud.RouteTable) string { return r.AccountID },
		"vpc_id", func(r *cloud.RouteTable) []any { return []any{r.VpcID} })
	acls = newTable("acl", func(a *cloud.Acl) string { return a.ID }, func(a *cloud.Acl) string { return a.AccountID },
		"vpc_id", func(a *cloud.Acl) []any { return []any{a.VpcID} })
)

// Vpcs returns the VPCs ids of account, or all of them when no id is given.
func (rx Rx) Vpcs(ctx context.Context, account string, ids ...string) ([]cloud.Vpc, error) {
	return vpcs.list(ctx, rx, account, ids)
}

// Vpc returns the VPC id of account.
func (rx Rx) Vpc(ctx context.Context, account, id string) (cloud.Vpc, error) {
	return vpcs.get(ctx, rx, account, id)
}

// FindVpc returns the VPC id, whoever owns it, and whether there is one.
func (rx Rx) FindVpc(ctx context.Context, id string) (cloud.Vpc, bool, error) {
	return vpcs.find(ctx, rx, id)
}

var vpcDefault = vpcs.where("account_id = ? AND is_default = 1")

// DefaultVpc returns the default VPC of account.
func (rx Rx) DefaultVpc(ctx context.Context, account string) (cloud.Vpc, error) {
	v, err := vpcs.query(ctx, rx, vpcDefault, account)
	if err == nil && len(v) == 0 {
		err = cloud.Faultf("VPCIdNotSpecified", "No default VPC for this user; name a subnet.")
	}
	if err != nil {
		return cloud.Vpc{}, err
	}
	return v[0], nil
}

// PutVpc adds or replaces v; a VNI of zero becomes the next free one.
func (tx Tx) PutVpc(ctx context.Context, v cloud.Vpc) error {
	if v.VNI == 0 {
		if err := tx.c.queryRow(ctx, `SELECT COALESCE(MAX(vni), 0) + 1 FROM vpc`).Scan(&v.VNI); err != nil {
			return err
		}
	}
	return vpcs.put(ctx, tx, &v)
}

// Subnets returns the subnets ids of account, or all of them when no id is given.
func (rx Rx) Subnets(ctx context.Context, account string, ids ...string) ([]cloud.Subnet, error) {
	return subnets.list(ctx, rx, account, ids)
}

// Subnet returns the subnet id of account.
func (rx Rx) Subnet(ctx context.Context, account, id string) (cloud.Subnet, error) {
	return subnets.get(ctx, rx, account, id)
}

// FindSubnet returns the subnet id, whoever has it, and whether there is one.
func (rx Rx) FindSubnet(ctx context.Context, id string) (cloud.Subnet, bool, error) {
	return subnets.find(ctx, rx, id)
}

var subnetsOfVpc = subnets.where("vpc_id = ?")

// SubnetsOfVpc returns the subnets of vpc.
func (rx Rx) SubnetsOfVpc(ctx context.Context, vpc string) ([]cloud.Subnet, error) {
	return subnets.query(ctx, rx, subnetsOfVpc, vpc)
}

// PutSubnet adds or replaces s.
func (tx Tx) PutSubnet(ctx context.Context, s cloud.Subnet) error { return subnets.put(ctx, tx, &s) }

// Gateways returns the internet gateways ids of account, or all of them when no id is given.
func (rx Rx) Gateways(ctx context.Context, account string, ids ...string) ([]cloud.Gateway, error) {
	return gateways.list(ctx, rx, account, ids)
}

// PutGateway adds or replaces g.
func (tx Tx) PutGateway(ctx context.Context, g cloud.Gateway) error { return gateways.put(ctx, tx, &g) }

// RouteTables returns the route tables ids of account, or all of them when no id is given.
func (rx Rx) RouteTables(ctx context.Context, account string, ids ...string) ([]cloud.RouteTable, error) {
	return routeTables.list(ctx, rx, account, ids)
}

// PutRouteTable adds or replaces r.
func (tx Tx) PutRouteTable(ctx context.Context, r cloud.RouteTable) error {
	return routeTables.put(ctx, tx, &r)
}

// Acls returns the network ACLs ids of account, or all of them when no id is given.
func (rx Rx) Acls(ctx context.Context, account string, ids ...string) ([]cloud.Acl, error) {
	return acls.list(ctx, rx, account, ids)
}

// PutAcl adds or replaces a.
func (tx Tx) PutAcl(ctx context.Context, a cloud.Acl) error { return acls.put(ctx, tx, &a) }

// AddNetwork adds a VPC with all its parts.
func (tx Tx) AddNetwork(ctx context.Context, n cloud.Network) error {
	err := errors.Join(tx.PutVpc(ctx, n.Vpc), tx.PutGateway(ctx, n.Gateway), tx.PutRouteTable(ctx, n.Routes), tx.PutAcl(ctx, n.Acl), tx.PutGroup(ctx, n.Group))
	for _, s := range n.Subnets {
		err = errors.Join(err, tx.PutSubnet(ctx, s))
	}
	return err
}

// AddMissingSubnets gives the default VPC of account a subnet in each of
// zones that it has none in.
func (tx Tx) AddMissingSubnets(ctx context.Context, account string, zones []string) error {
	v, err := tx.DefaultVpc(ctx, account)
	if cloud.FaultCode(err) != "" {
		return nil // it was deleted
	}
	if err != nil {
		return err
	}
	have, err := tx.SubnetsOfVpc(ctx, v.ID)
	if err != nil {
		return err
	}
	n := cloud.Network{Vpc: v}
	if n.Acl, err = tx.defaultAcl(ctx, v); err != nil {
		return err
	}
	old := len(n.Acl.Associations)
	for _, s := range cloud.DefaultSubnets(v, have, zones) {
		n.AddSubnet(s)
	}
	if len(n.Acl.Associations) == old {
		return nil
	}
	for _, s := range n.Subnets {
		err = errors.Join(err, tx.PutSubnet(ctx, s))
	}
	return errors.Join(err, tx.PutAcl(ctx, n.Acl))
}

func (rx Rx) defaultAcl(ctx context.Context, v cloud.Vpc) (cloud.Acl, error) {
	all, err := rx.Acls(ctx, v.AccountID)
	for _, a := range all {
		if a.VpcID == v.ID && a.Default {
			return a, nil
		}
	}
	return cloud.Acl{}, errors.Join(err, fmt.Errorf("VPC %s has no default network ACL", v.ID))
}
