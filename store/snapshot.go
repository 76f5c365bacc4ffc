package store

import (
	"context"

	"eucad/store/cloud"
)

var snapshots = newTable("snapshot",
	func(s *cloud.Snapshot) string { return s.ID }, func(s *cloud.Snapshot) string { return s.AccountID },
	"hash", func(s *cloud.Snapshot) []any { return []any{s.Hash} })

// Snapshot returns the snapshot id of account.
func (rx Rx) Snapshot(ctx context.Context, account, id string) (cloud.Snapshot, error) {
	return snapshots.get(ctx, rx, account, id)
}

// Snapshots returns the snapshots ids of account, or all of them when no id is given.
func (rx Rx) Snapshots(ctx context.Context, account string, ids ...string) ([]cloud.Snapshot, error) {
	return snapshots.list(ctx, rx, account, ids)
}

// PutSnapshot adds or replaces s.
func (tx Tx) PutSnapshot(ctx context.Context, s cloud.Snapshot) error {
	return snapshots.put(ctx, tx, &s)
}

// DeleteSnapshot forgets s and its tags.
func (tx Tx) DeleteSnapshot(ctx context.Context, s cloud.Snapshot) error {
	if err := tx.deleteTags(ctx, s.AccountID, s.ID); err != nil {
		return err
	}
	return snapshots.remove(ctx, tx, s.AccountID, s.ID)
}
