package store

import (
	"context"

	"eucad/store/cloud"
)

var volumes = newTable("volume",
	func(v *cloud.Volume) string { return v.ID }, func(v *cloud.Volume) string { return v.AccountID },
	"instance_id, node, size_gib, hash", func(v *cloud.Volume) []any { return []any{v.InstanceID, v.Node, v.SizeGiB, v.Hash} })

// Volume returns the volume id of account.
func (rx Rx) Volume(ctx context.Context, account, id string) (cloud.Volume, error) {
	return volumes.get(ctx, rx, account, id)
}

// FindVolume returns the volume id, whoever owns it, and whether there is one.
func (rx Rx) FindVolume(ctx context.Context, id string) (cloud.Volume, bool, error) {
	return volumes.find(ctx, rx, id)
}

// Volumes returns the volumes ids of account, or all of them when no id is given.
func (rx Rx) Volumes(ctx context.Context, account string, ids ...string) ([]cloud.Volume, error) {
	return volumes.list(ctx, rx, account, ids)
}

var volumesOfInstance = volumes.where("instance_id = ? AND instance_id <> ''")

// VolumesOfInstance returns the volumes attached to instance.
func (rx Rx) VolumesOfInstance(ctx context.Context, instance string) ([]cloud.Volume, error) {
	return volumes.query(ctx, rx, volumesOfInstance, instance)
}

// PutVolume adds or replaces v.
func (tx Tx) PutVolume(ctx context.Context, v cloud.Volume) error { return volumes.put(ctx, tx, &v) }

// DeleteVolume forgets v and its tags.
func (tx Tx) DeleteVolume(ctx context.Context, v cloud.Volume) error {
	if err := tx.deleteTags(ctx, v.AccountID, v.ID); err != nil {
		return err
	}
	return volumes.remove(ctx, tx, v.AccountID, v.ID)
}
