package store

import (
	"context"

	"eucad/store/cloud"
)

var instances = newTable("instance",
	func(i *cloud.Instance) string { return i.ID }, func(i *cloud.Instance) string { return i.AccountID },
	"reservation_id, state, since, node, cpus, memory_mib",
	func(i *cloud.Instance) []any {
		cpus, memory := 0, 0
		if i.Holds() {
			cpus, memory = i.CPUs, i.MemoryMiB
		}
		return []any{i.ReservationID, string(i.State), i.Since.UnixMilli(), i.Node, cpus, memory}
	})

// Instance returns the instance id of account.
func (rx Rx) Instance(ctx context.Context, account, id string) (cloud.Instance, error) {
	return instances.get(ctx, rx, account, id)
}

// FindInstance returns the instance id, whoever owns it, and whether there is one.
func (rx Rx) FindInstance(ctx context.Context, id string) (cloud.Instance, bool, error) {
	return instances.find(ctx, rx, id)
}

// Instances returns the instances ids of account, or all of them when no id
// is given, ordered by id. Each named one must exist.
func (rx Rx) Instances(ctx context.Context, account string, ids ...string) ([]cloud.Instance, error) {
	return instances.list(ctx, rx, account, ids)
}

var instancesOfReservation = instances.where("reservation_id = ? AND account_id = ?")

// InstancesOfReservation returns the instances that one RunInstances made.
func (rx Rx) InstancesOfReservation(ctx context.Context, account, reservation string) ([]cloud.Instance, error) {
	return instances.query(ctx, rx, instancesOfReservation, reservation, account)
}

var instancesMoving = instances.where("state IN ('pending', 'stopping', 'shutting-down')")

// InstancesMoving returns all instances, of every account, that are not at rest.
func (rx Rx) InstancesMoving(ctx context.Context) ([]cloud.Instance, error) {
	return instances.query(ctx, rx, instancesMoving)
}

var instancesOnNode = instances.where("node = ? AND state <> 'terminated'")

// InstancesOnNode returns the instances, of every account, placed on node and not terminated.
func (rx Rx) InstancesOnNode(ctx context.Context, node string) ([]cloud.Instance, error) {
	return instances.query(ctx, rx, instancesOnNode, node)
}

// InstancesTerminated returns the ids of all instances, of every account, that
// are terminated.
func (rx Rx) InstancesTerminated(ctx context.Context) ([]string, error) {
	rows, err := rx.c.query(ctx, `SELECT id FROM instance WHERE state = 'terminated'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// PutInstance adds or replaces i.
func (tx Tx) PutInstance(ctx context.Context, i cloud.Instance) error {
	return instances.put(ctx, tx, &i)
}

// DeleteInstance forgets i and its tags.
func (tx Tx) DeleteInstance(ctx context.Context, i cloud.Instance) error {
	if err := tx.deleteTags(ctx, i.AccountID, i.ID); err != nil {
		return err
	}
	return instances.remove(ctx, tx, i.AccountID, i.ID)
}

// Use returns what instances and volumes occupy, by node.
func (rx Rx) Use(ctx context.Context) (map[string]cloud.Use, error) {
	rows, err := rx.c.query(ctx, `SELECT node, instances, cpus, memory_mib, disk_gib FROM node_use`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	use := map[string]cloud.Use{}
	for rows.Next() {
		var node string
		var u cloud.Use
		if err := rows.Scan(&node, &u.Instances, &u.CPUs, &u.MemoryMiB, &u.DiskGiB); err != nil {
			return nil, err
		}
		use[node] = u
	}
	return use, rows.Err()
}

// VpcsWithInstances returns the VPCs with an interface of an instance that
// holds its node.
func (rx Rx) VpcsWithInstances(ctx context.Context) ([]string, error) {
	return rx.strings(ctx, `SELECT DISTINCT n.vpc_id FROM interface n JOIN instance i ON i.id = n.instance_id WHERE i.cpus > 0`)
}

// A Place is where an instance is.
type Place struct{ ID, Node string }

// InstancesOfVpc returns the instances with an interface in vpc that hold
// their node.
func (rx Rx) InstancesOfVpc(ctx context.Context, vpc string) ([]Place, error) {
	rows, err := rx.c.query(ctx, `SELECT DISTINCT i.id, i.node FROM interface n JOIN instance i ON i.id = n.instance_id WHERE n.vpc_id = ? AND i.cpus > 0`, vpc)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Place
	for rows.Next() {
		var p Place
		if err := rows.Scan(&p.ID, &p.Node); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}
