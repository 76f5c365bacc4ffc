package store

import (
	"context"

	"eucad/store/cloud"
)

var strays = newTable("stray", func(s *cloud.Stray) string { return s.Key() }, func(*cloud.Stray) string { return "" },
	"instance_id, node", func(s *cloud.Stray) []any { return []any{s.InstanceID, s.Node} })

// Stray returns what may be left of an instance on a node, and whether there
// is such.
func (rx Rx) Stray(ctx context.Context, key string) (cloud.Stray, bool, error) {
	return strays.find(ctx, rx, key)
}

var straysOnNode = strays.where("node = ?")

// StraysOnNode returns what may be left on node of instances that were taken
// from it.
func (rx Rx) StraysOnNode(ctx context.Context, node string) ([]cloud.Stray, error) {
	return strays.query(ctx, rx, straysOnNode, node)
}

var straysOfInstance = strays.where("instance_id = ?")

// StraysOfInstance returns what may be left of an instance on nodes that it
// was taken from.
func (rx Rx) StraysOfInstance(ctx context.Context, instance string) ([]cloud.Stray, error) {
	return strays.query(ctx, rx, straysOfInstance, instance)
}

// DeleteStray notes that the node has removed its copy.
func (tx Tx) DeleteStray(ctx context.Context, key string) error {
	return strays.remove(ctx, tx, "", key)
}

// MoveInstance takes i, all of whose volumes are on the network, from its node
// to another one ("": to none), and gives that the lease on the volumes. The
// caller stores i. The node that it leaves is to remove its copy, and nobody
// may start i before that node is fenced off.
func (tx Tx) MoveInstance(ctx context.Context, i *cloud.Instance, node string) error {
	vols, err := tx.VolumesOfInstance(ctx, i.ID)
	if err != nil {
		return err
	}
	for _, v := range vols {
		v.Holder = node
		v.Epoch++
		if err := tx.PutVolume(ctx, v); err != nil {
			return err
		}
	}
	if i.Node != "" {
		s := cloud.Stray{InstanceID: i.ID, Node: i.Node, VpcID: i.VpcID, Interfaces: i.Interfaces, Since: tx.Now()}
		if err := strays.put(ctx, tx, &s); err != nil {
			return err
		}
	}
	i.Node, i.Fencing = node, true
	return nil
}
