package store

import (
	"context"

	"eucad/store/cloud"
)

// Tags returns the tags of account's resources, by resource id and key in
// order. With ids, only of those; prefix ("i-") narrows to one kind.
func (rx Rx) Tags(ctx context.Context, account, prefix string, ids ...string) ([]cloud.Tag, error) {
	var out []cloud.Tag
	if len(ids) == 0 {
		return out, rx.tags(ctx, &out, `SELECT resource_id, key, value FROM tag WHERE account_id = ? AND resource_id >= ? AND resource_id < ? ORDER BY resource_id, key`,
			account, prefix, prefix+"\x7f")
	}
	for _, id := range ids {
		if err := rx.tags(ctx, &out, `SELECT resource_id, key, value FROM tag WHERE account_id = ? AND resource_id = ? ORDER BY key`, account, id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// TagsByResource returns what Tags does, by resource id.
func (rx Rx) TagsByResource(ctx context.Context, account, prefix string, ids ...string) (map[string][]cloud.Tag, error) {
	tags, err := rx.Tags(ctx, account, prefix, ids...)
	m := map[string][]cloud.Tag{}
	for _, t := range tags {
		m[t.ResourceID] = append(m[t.ResourceID], t)
	}
	return m, err
}

func (rx Rx) tags(ctx context.Context, out *[]cloud.Tag, query string, args ...any) error {
	rows, err := rx.c.query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t cloud.Tag
		if err := rows.Scan(&t.ResourceID, &t.Key, &t.Value); err != nil {
			return err
		}
		*out = append(*out, t)
	}
	return rows.Err()
}

// PutTag adds t to a resource of account, or replaces its value.
func (tx Tx) PutTag(ctx context.Context, account string, t cloud.Tag) error {
	if err := tx.c.exec(ctx, `INSERT INTO tag (account_id, resource_id, key, value) VALUES (?, ?, ?, ?)
		ON CONFLICT (account_id, resource_id, key) DO UPDATE SET value = excluded.value`, account, t.ResourceID, t.Key, t.Value); err != nil {
		return err
	}
	tx.touch(account, "tag", t.ResourceID)
	return nil
}

// DeleteTag removes the tag key of a resource, if it is there.
func (tx Tx) DeleteTag(ctx context.Context, account, resource, key string) error {
	if err := tx.c.exec(ctx, `DELETE FROM tag WHERE account_id = ? AND resource_id = ? AND key = ?`, account, resource, key); err != nil {
		return err
	}
	tx.touch(account, "tag", resource)
	return nil
}

// deleteTags removes all tags of a resource that goes.
func (tx Tx) deleteTags(ctx context.Context, account, resource string) error {
	return tx.c.exec(ctx, `DELETE FROM tag WHERE account_id = ? AND resource_id = ?`, account, resource)
}
