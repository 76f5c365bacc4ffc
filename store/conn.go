package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"eucad/store/cloud"
)

// A conn is one connection with the statements it has prepared. Statements
// run to their end whatever becomes of the caller: each is short, and an
// interrupted one would take the whole batch with it.
type conn struct {
	c       *sql.Conn
	stmts   map[string]*sql.Stmt
	fleet   *fleet // see Tx.Fleet
	wrote   bool   // since the open savepoint began
	changes []byte // lines of the change feed, of the open batch
	changed int    // how many
}

func newConn(ctx context.Context, db *sql.DB) (*conn, error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{c: c, stmts: map[string]*sql.Stmt{}}, nil
}

// close gives the connection back. Package sql neither closes connections that
// are in somebody's hands nor statements that were prepared on them, and SQLite
// keeps a connection, with its cache, as long as it has statements.
func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.c.Close())...)
}

func (c *conn) stmt(query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.c.PrepareContext(context.Background(), query)
	if err == nil {
		c.stmts[query] = s
	}
	return s, err
}

func (c *conn) exec(ctx context.Context, query string, args ...any) error {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	c.wrote = true
	_, err = s.ExecContext(context.WithoutCancel(ctx), args...)
	return err
}

func (c *conn) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := c.stmt(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.WithoutCancel(ctx), args...)
}

// A row is the answer of queryRow: one line or an error, told by Scan.
type row interface{ Scan(...any) error }

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

func (c *conn) queryRow(ctx context.Context, query string, args ...any) row {
	s, err := c.stmt(query)
	if err != nil {
		return failedRow{err}
	}
	return s.QueryRowContext(context.WithoutCancel(ctx), args...)
}

// savepoint runs w alone within the open transaction.
func (c *conn) savepoint(w *write, now time.Time) error {
	if err := c.exec(w.ctx, `SAVEPOINT w`); err != nil {
		return err
	}
	if c.wrote = false; c.fleet != nil {
		c.fleet.own = false
	}
	changes, changed := len(c.changes), c.changed
	err := w.run(Tx{Rx{c: c, now: now}})
	if err == nil && cloud.CallFrom(w.ctx).DryRun {
		err = cloud.ErrDryRun
	}
	if err == nil {
		err = c.exec(w.ctx, `RELEASE w`)
	}
	if err == nil {
		return nil
	}
	c.changes, c.changed = c.changes[:changes], changed
	c.forget()
	if !full(err) {
		err = errors.Join(err, c.exec(w.ctx, `ROLLBACK TO w`), c.exec(w.ctx, `RELEASE w`))
	}
	return err
}

// forget drops what was read of nodes if some of that is being rolled back.
func (c *conn) forget() {
	if c.fleet != nil && c.fleet.own {
		c.fleet = nil
	}
}

// run calls w.fn; a panic in it becomes its error, for the other writes of
// the batch must not suffer.
func (w *write) run(tx Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write: %v", p)
		}
	}()
	return w.fn(tx)
}
