// Package store keeps the state of the cloud in an embedded SQLite database.
//
// One goroutine writes. It takes as many waiting writes as it can into one
// transaction, each in a savepoint of its own, so that the cost of making them
// durable is shared (group commit) while each still succeeds or fails alone.
// Readers have connections of their own and see the last committed state.
//
// Every row carries its noun as JSON beside the columns that queries need.
// Each write also leaves a line in the change feed (see Changes).
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"eucad/store/cloud"
)

const (
	readers   = 4               // connections for Read
	batchMax  = 128             // writes that share one commit
	queueMax  = 1024            // writes that wait; more get Unavailable
	changeMax = 200_000         // lines of the change feed that are kept
	changeCut = 1000            // they are cut off in pieces of so many
	lockWait  = 5 * time.Second // for another process (eucad backup) that holds the database
)

// A DB is an open store. Its methods may be called at once.
type DB struct {
	sql   *sql.DB
	seal  sealer
	read  chan *conn // idle readers
	write *conn      // of the writer
	queue chan *write
	rev   atomic.Uint64 // of the last committed change
	now   func() time.Time
	stop  chan struct{}
	done  chan struct{}

	watchMu sync.Mutex
	watch   chan struct{} // closed by the next commit
}

// A write is one call of Write on its way through the writer.
type write struct {
	ctx  context.Context
	fn   func(Tx) error
	err  error
	done chan struct{}
}

// An Option changes how a store works.
type Option func(*DB)

// WithClock has transactions take their time from now, which may run at once
// with itself, and not from the host's clock.
func WithClock(now func() time.Time) Option { return func(db *DB) { db.now = now } }

// Open opens the store in the file name and brings its schema up to date. A
// name of ":memory:" is not supported: use a temporary directory.
func Open(name string, options ...Option) (*DB, error) {
	dsn := "file:" + (&url.URL{Path: name}).EscapedPath() + "?" + url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds()),
		"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"journal_size_limit(67108864)", "cache_size(-4096)", "wal_autocheckpoint(4000)",
		"temp_store(MEMORY)", // savepoints journal there: a file costs a fifth of a launch
	}}.Encode()
	// SQLite gives its log the mode of the database: user data is nobody else's.
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	f.Close()
	seal, err := openSealer(name + ".key")
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	db.SetMaxOpenConns(readers + 1)
	db.SetMaxIdleConns(readers + 1)
	d := &DB{
		sql:   db,
		seal:  seal,
		read:  make(chan *conn, readers),
		queue: make(chan *write, queueMax),
		now:   time.Now,
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
		watch: make(chan struct{}),
	}
	for _, o := range options {
		o(d)
	}
	if err := d.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), db.Close())
	}
	return d, nil
}

// start migrates, makes the connections and starts the writer.
func (db *DB) start() error {
	ctx := context.Background()
	w, err := newConn(ctx, db.sql)
	if err != nil {
		return err
	}
	db.write = w
	if err := migrate(ctx, w); err != nil {
		return err
	}
	var rev sql.NullInt64
	if err := w.queryRow(ctx, `SELECT MAX(rev) FROM change`).Scan(&rev); err != nil {
		return err
	}
	db.rev.Store(uint64(rev.Int64))
	for range readers {
		r, err := newConn(ctx, db.sql)
		if err != nil {
			return err
		}
		if err := r.exec(ctx, `PRAGMA query_only = 1`); err != nil {
			return err
		}
		db.read <- r
	}
	go db.writer(w)
	return nil
}

// Close ends the writer after what it has begun, waits for readers, and closes
// the database.
func (db *DB) Close() error {
	close(db.stop)
	<-db.done
	errs := []error{db.write.close()}
	for range readers {
		errs = append(errs, (<-db.read).close())
	}
	return errors.Join(append(errs, db.sql.Close())...)
}

// Now returns what the clock on the wall says, in UTC: for what people read.
// It may be set at any time. To wait, measure what passes (package time's Since).
func (db *DB) Now() time.Time { return db.now().UTC() }

// Rev returns the revision of the last committed change.
func (db *DB) Rev() uint64 { return db.rev.Load() }

// Changed returns a channel that is closed at the next commit.
func (db *DB) Changed() <-chan struct{} {
	db.watchMu.Lock()
	defer db.watchMu.Unlock()
	return db.watch
}

// Read calls fn with a consistent view of the last committed state.
func (db *DB) Read(ctx context.Context, fn func(Rx) error) error {
	var c *conn
	select {
	case c = <-db.read:
	case <-ctx.Done():
		return ctx.Err()
	case <-db.stop:
		return errClosed
	}
	defer func() { db.read <- c }()
	if err := c.exec(ctx, `BEGIN`); err != nil {
		return err
	}
	defer c.exec(ctx, `ROLLBACK`)
	return fn(Rx{c: c, now: db.Now()})
}

var errClosed = cloud.Faultf("Unavailable", "The service is shutting down; try again.")

// Write calls fn with the leave to write, and returns once what it wrote is
// durable. When fn fails nothing of it stays. fn may run later and on another
// goroutine, must be quick, and must not call the DB again.
//
// When ctx carries a Call that is a dry run, nothing stays and a success is ErrDryRun.
func (db *DB) Write(ctx context.Context, fn func(Tx) error) error {
	w := &write{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case db.queue <- w:
	case <-db.stop:
		return errClosed
	default:
		return cloud.Faultf("RequestLimitExceeded", "Request limit exceeded: %d writes are waiting for the store.", queueMax)
	}
	select {
	case <-w.done:
		return w.err
	case <-db.done:
		select {
		case <-w.done:
			return w.err
		default:
			return errClosed
		}
	}
}

// writer runs the queue until the DB closes.
func (db *DB) writer(c *conn) {
	defer close(db.done)
	for {
		select {
		case w := <-db.queue:
			db.batch(c, w)
		case <-db.stop:
			return
		}
	}
}

// batch runs first and what else waits in one transaction.
func (db *DB) batch(c *conn, first *write) {
	ctx := context.Background()
	err := c.exec(ctx, `BEGIN IMMEDIATE`)
	rev := db.rev.Load()
	var all []*write
	for w := first; w != nil; {
		all = append(all, w)
		if err == nil {
			if w.err = w.ctx.Err(); w.err == nil {
				w.err = c.savepoint(w, db.Now())
			}
			if full(w.err) { // SQLite may have rolled back everything by itself
				err = w.err
			}
		}
		w = nil
		if len(all) < batchMax {
			select {
			case w = <-db.queue:
			default:
			}
		}
	}
	if err == nil {
		rev, err = c.keepChanges(ctx, rev)
	}
	if err == nil && rev/changeCut != db.rev.Load()/changeCut {
		err = c.exec(ctx, `DELETE FROM change WHERE rev < ?`, int64(rev)-changeMax)
	}
	if err == nil {
		err = c.exec(ctx, `COMMIT`)
	}
	if err != nil {
		c.fleet, c.changes, c.changed = nil, c.changes[:0], 0
		c.exec(ctx, `ROLLBACK`)
		for _, w := range all {
			w.err = storeFault(err)
		}
	}
	changed := err == nil && rev != db.rev.Load()
	if changed {
		db.rev.Store(rev)
	}
	for _, w := range all {
		close(w.done)
	}
	if changed {
		db.watchMu.Lock()
		close(db.watch)
		db.watch = make(chan struct{})
		db.watchMu.Unlock()
	}
}

// full reports whether err means that the whole transaction is lost.
func full(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CORRUPT:
		return true
	}
	return false
}

// taken reports whether err says that a row with this key is there already.
func taken(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

// storeFault turns a failure of the disk below the store into what a caller
// may be told; anything else stays as it is.
func storeFault(err error) error {
	if full(err) {
		return errors.Join(cloud.Faultf("Unavailable", "The cloud's store cannot be written; its operator must free disk space."), err)
	}
	return err
}
