package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
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
type Tx struct{ Rx }

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

// touch adds a line to the change feed. The batch writes it at its end, with
// those of the others: no transaction sees lines of its own.
func (tx Tx) touch(account, kind, id string) {
	c := tx.c
	if c.changed++; len(c.changes) > 0 {
		c.changes = append(c.changes, '\n')
	}
	for n, s := range [...]string{account, kind, id} {
		if n > 0 {
			c.changes = append(c.changes, '\t')
		}
		c.changes = append(c.changes, s...)
	}
}

// keepChanges writes what transactions have touched, after revision rev, and
// returns the revision after it. It is one row a commit: one each would cost a
// tenth of a launch.
func (c *conn) keepChanges(ctx context.Context, rev uint64) (uint64, error) {
	if c.changed == 0 {
		return rev, nil
	}
	first, last := rev+1, rev+uint64(c.changed)
	err := c.exec(ctx, `INSERT INTO change (rev, first, lines) VALUES (?, ?, ?)`, int64(last), int64(first), string(c.changes))
	c.changes, c.changed = c.changes[:0], 0
	return last, err
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
	if err := rx.c.queryRow(ctx, `SELECT first FROM change ORDER BY rev LIMIT 1`).Scan(&oldest); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	if oldest.Valid && uint64(oldest.Int64) > since+1 {
		return nil, ErrTooOld
	}
	rows, err := rx.c.query(ctx, `SELECT first, lines FROM change WHERE rev > ? ORDER BY rev LIMIT ?`, int64(since), max)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Change
	for rows.Next() && len(out) < max {
		var rev uint64
		var lines string
		if err := rows.Scan(&rev, &lines); err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(lines, "\n") {
			if rev > since && len(out) < max {
				account, rest, _ := strings.Cut(line, "\t")
				kind, id, _ := strings.Cut(rest, "\t")
				out = append(out, Change{rev, account, kind, id})
			}
			rev++
		}
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
