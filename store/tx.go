package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"eucad/store/cloud"
)

// An Rx is a transaction that may read.
type Rx struct {
	c   *conn
	now time.Time
}

// Now returns the time of the transaction; see DB.Now.
func (rx Rx) Now() time.Time { return rx.now }

// A Tx is a transaction that may also write.
type Tx struct {
	Rx
	rev *uint64 // of the last change so far
}

// A Change is one line of the change feed: something that became different.
type Change struct {
	Rev       uint64
	AccountID string
	Kind      string // name of the table: "instance"
	ID        string // of the row
}

// ErrTooOld says that the change feed no longer reaches back to the revision
// asked for: read everything.
var ErrTooOld = errors.New("change feed does not reach back so far")

// touch adds a line to the change feed.
func (tx Tx) touch(ctx context.Context, account, kind, id string) error {
	*tx.rev++
	return tx.c.exec(ctx, `INSERT INTO change (rev, account_id, kind, id) VALUES (?, ?, ?, ?)`, int64(*tx.rev), account, kind, id)
}

// Rev returns the revision this transaction reads.
func (rx Rx) Rev(ctx context.Context) (uint64, error) {
	var rev sql.NullInt64
	err := rx.c.queryRow(ctx, `SELECT MAX(rev) FROM change`).Scan(&rev)
	return uint64(rev.Int64), err
}

// Changes returns what changed after the revision since, oldest first, at
// most max lines. It returns ErrTooOld when lines in between are gone.
func (rx Rx) Changes(ctx context.Context, since uint64, max int) ([]Change, error) {
	var oldest sql.NullInt64
	if err := rx.c.queryRow(ctx, `SELECT MIN(rev) FROM change`).Scan(&oldest); err != nil {
		return nil, err
	}
	if oldest.Valid && uint64(oldest.Int64) > since+1 {
		return nil, ErrTooOld
	}
	rows, err := rx.c.query(ctx, `SELECT rev, account_id, kind, id FROM change WHERE rev > ? ORDER BY rev LIMIT ?`, int64(since), max)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Change
	for rows.Next() {
		var c Change
		if err := rows.Scan(&c.Rev, &c.AccountID, &c.Kind, &c.ID); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

// Idempotent returns what an earlier request with the same client token came
// to, and whether there was one. Another request (another hash) under the same
// token is a Fault (EC2 docs: "Ensuring idempotency in Amazon EC2 API requests").
func (rx Rx) Idempotent(ctx context.Context, account, action, token, hash string) (result string, found bool, err error) {
	var was string
	err = rx.c.queryRow(ctx, `SELECT hash, result FROM client_token WHERE account_id = ? AND action = ? AND token = ?`, account, action, token).Scan(&was, &result)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", false, nil
	case err != nil:
		return "", false, err
	case was != hash:
		return "", false, cloud.Faultf("IdempotentParameterMismatch", "The client token '%s' was used before, with other parameters; use a new token for a new request.", token)
	}
	return result, true, nil
}

// KeepToken remembers what a request with a client token came to.
func (tx Tx) KeepToken(ctx context.Context, account, action, token, hash, result string) error {
	return tx.c.exec(ctx, `INSERT INTO client_token (account_id, action, token, hash, result, created) VALUES (?, ?, ?, ?, ?, ?)`,
		account, action, token, hash, result, tx.now.UnixMilli())
}
