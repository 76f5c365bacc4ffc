package store

import (
	"context"

	"eucad/store/cloud"
)

var groups = newTable("security_group",
	func(g *cloud.Group) string { return g.ID }, func(g *cloud.Group) string { return g.AccountID },
	"vpc_id, name", func(g *cloud.Group) []any { return []any{g.VpcID, g.Name} })

// Group returns the security group id of account.
func (rx Rx) Group(ctx context.Context, account, id string) (cloud.Group, error) {
	return groups.get(ctx, rx, account, id)
}

// Groups returns the security groups ids of account, or all of them when no id is given.
func (rx Rx) Groups(ctx context.Context, account string, ids ...string) ([]cloud.Group, error) {
	return groups.list(ctx, rx, account, ids)
}

var groupByName = groups.where("vpc_id = ? AND name = ? AND account_id = ?")

// GroupByName returns the security group of that name in vpc, or InvalidGroup.NotFound.
func (rx Rx) GroupByName(ctx context.Context, account, vpc, name string) (cloud.Group, error) {
	g, err := groups.query(ctx, rx, groupByName, vpc, name, account)
	if err == nil && len(g) == 0 {
		err = cloud.Faultf("InvalidGroup.NotFound", "The security group '%s' does not exist in VPC '%s'", name, vpc)
	}
	if err != nil {
		return cloud.Group{}, err
	}
	return g[0], nil
}

var groupsOfVpc = groups.where("vpc_id = ?")

// GroupsOfVpc returns the security groups of vpc.
func (rx Rx) GroupsOfVpc(ctx context.Context, vpc string) ([]cloud.Group, error) {
	return groups.query(ctx, rx, groupsOfVpc, vpc)
}

// GroupUsers returns the ids of up to max interfaces that are in the group.
func (rx Rx) GroupUsers(ctx context.Context, group string, max int) ([]string, error) {
	return rx.strings(ctx, `SELECT interface_id FROM interface_group WHERE group_id = ? ORDER BY interface_id LIMIT ?`, group, max)
}

// PutGroup adds or replaces g.
func (tx Tx) PutGroup(ctx context.Context, g cloud.Group) error { return groups.put(ctx, tx, &g) }

// DeleteGroup forgets g and its tags.
func (tx Tx) DeleteGroup(ctx context.Context, g cloud.Group) error {
	if err := tx.deleteTags(ctx, g.AccountID, g.ID); err != nil {
		return err
	}
	return groups.remove(ctx, tx, g.AccountID, g.ID)
}

// strings returns the single text column of a SELECT.
func (rx Rx) strings(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := rx.c.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// FindGroup returns the security group id, whoever owns it, and whether there is one.
func (rx Rx) FindGroup(ctx context.Context, id string) (cloud.Group, bool, error) {
	return groups.find(ctx, rx, id)
}
