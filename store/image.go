package store

import (
	"context"

	"eucad/store/cloud"
)

var images = newTable("image",
	func(m *cloud.Image) string { return m.ID }, func(m *cloud.Image) string { return m.AccountID },
	"public, hash", func(m *cloud.Image) []any {
		public := 0
		if m.Public {
			public = 1
		}
		return []any{public, m.Hash}
	})

// Image returns the image id if account may see it.
func (rx Rx) Image(ctx context.Context, account, id string) (cloud.Image, error) {
	m, ok, err := images.find(ctx, rx, id)
	if err == nil && (!ok || !m.VisibleTo(account)) {
		err = cloud.NotFound(id)
	}
	return m, err
}

// FindImage returns the image id, whoever owns it, and whether there is one.
func (rx Rx) FindImage(ctx context.Context, id string) (cloud.Image, bool, error) {
	return images.find(ctx, rx, id)
}

var imagesVisible = images.where("account_id = ?1 OR public = 1 OR id IN (SELECT image_id FROM image_launch WHERE account_id = ?1)")

// Images returns the images ids, each of which must be visible to account, or
// all that account may see when no id is given.
func (rx Rx) Images(ctx context.Context, account string, ids ...string) ([]cloud.Image, error) {
	if len(ids) == 0 {
		return images.query(ctx, rx, imagesVisible, account)
	}
	out := make([]cloud.Image, 0, len(ids))
	for _, id := range ids {
		m, err := rx.Image(ctx, account, id)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// HashUsed reports whether an image, a snapshot, a volume or an instance
// still needs the content with this hash.
func (rx Rx) HashUsed(ctx context.Context, hash string) (bool, error) {
	var n int
	err := rx.c.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM image WHERE hash = ?1) OR EXISTS (SELECT 1 FROM snapshot WHERE hash = ?1) OR EXISTS (SELECT 1 FROM volume WHERE hash = ?1)
		OR EXISTS (SELECT 1 FROM instance WHERE state <> 'terminated' AND instr(body, ?1) > 0)`, hash).Scan(&n)
	return n > 0, err
}

// PutImage adds or replaces m.
func (tx Tx) PutImage(ctx context.Context, m cloud.Image) error {
	if err := images.put(ctx, tx, &m); err != nil {
		return err
	}
	if err := tx.c.exec(ctx, `DELETE FROM image_launch WHERE image_id = ?`, m.ID); err != nil {
		return err
	}
	for _, a := range m.LaunchTo {
		if err := tx.c.exec(ctx, `INSERT OR IGNORE INTO image_launch (image_id, account_id) VALUES (?, ?)`, m.ID, a); err != nil {
			return err
		}
	}
	return nil
}

// DeleteImage forgets m and its tags.
func (tx Tx) DeleteImage(ctx context.Context, m cloud.Image) error {
	if err := tx.deleteTags(ctx, m.AccountID, m.ID); err != nil {
		return err
	}
	return images.remove(ctx, tx, m.AccountID, m.ID)
}
