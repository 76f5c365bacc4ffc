package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"eucad/store/cloud"
)

// A table keeps nouns of type T: columns id and account_id, further columns
// that queries need, and the noun itself as JSON in body. All SQL texts are
// made once, so that each is prepared once a connection.
type table[T any] struct {
	name                     string
	id                       func(*T) string
	account                  func(*T) string
	extra                    func(*T) []any // values of columns
	upsert, one, all, delete string
}

func newTable[T any](name string, id, account func(*T) string, columns string, extra func(*T) []any) table[T] {
	var cols []string
	if columns != "" {
		cols = strings.Split(columns, ", ")
	}
	names := append([]string{"id", "account_id"}, cols...)
	names = append(names, "body")
	var set []string
	for _, n := range names[1:] {
		set = append(set, n+" = excluded."+n)
	}
	return table[T]{
		name: name, id: id, account: account, extra: extra,
		upsert: "INSERT INTO " + name + " (" + strings.Join(names, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(names)-1) + ")" +
			" ON CONFLICT (id) DO UPDATE SET " + strings.Join(set, ", "),
		one:    "SELECT body FROM " + name + " WHERE id = ?",
		all:    "SELECT body FROM " + name + " WHERE account_id = ? ORDER BY id",
		delete: "DELETE FROM " + name + " WHERE id = ?",
	}
}

// put adds or replaces v.
func (t *table[T]) put(ctx context.Context, tx Tx, v *T) error {
	return t.write(ctx, tx, t.upsert, v)
}

// write runs a statement with the values of v's columns, and more after them.
func (t *table[T]) write(ctx context.Context, tx Tx, query string, v *T, more ...any) error {
	id, account := t.id(v), t.account(v)
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("put %s %s: %w", t.name, id, err)
	}
	args := []any{id, account}
	if t.extra != nil {
		args = append(args, t.extra(v)...)
	}
	args = append(append(args, string(body)), more...)
	if err := tx.c.exec(ctx, query, args...); err != nil {
		return fmt.Errorf("put %s %s: %w", t.name, id, err)
	}
	tx.touch(account, t.name, id)
	return nil
}

// remove deletes the row id of account, if it is there.
func (t *table[T]) remove(ctx context.Context, tx Tx, account, id string) error {
	if err := tx.c.exec(ctx, t.delete, id); err != nil {
		return fmt.Errorf("delete %s %s: %w", t.name, id, err)
	}
	tx.touch(account, t.name, id)
	return nil
}

// find returns the row id, whoever owns it, and whether it is there.
func (t *table[T]) find(ctx context.Context, rx Rx, id string) (v T, ok bool, err error) {
	var body []byte
	err = rx.c.queryRow(ctx, t.one, id).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return v, false, nil
	}
	if err == nil {
		err = json.Unmarshal(body, &v)
	}
	if err != nil {
		return v, false, fmt.Errorf("read %s %s: %w", t.name, id, err)
	}
	return v, true, nil
}

// get returns the row id of account, or a NotFound Fault.
func (t *table[T]) get(ctx context.Context, rx Rx, account, id string) (T, error) {
	v, ok, err := t.find(ctx, rx, id)
	if err == nil && (!ok || t.account(&v) != account) {
		err = cloud.NotFound(id)
	}
	return v, err
}

// list returns the rows ids of account, or all of them when no id is given,
// ordered by id. Each named one must exist.
func (t *table[T]) list(ctx context.Context, rx Rx, account string, ids []string) ([]T, error) {
	if len(ids) == 0 {
		return t.query(ctx, rx, t.all, account)
	}
	out := make([]T, 0, len(ids))
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		v, err := t.get(ctx, rx, account, id)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// query returns the rows whose bodies a SELECT yields.
func (t *table[T]) query(ctx context.Context, rx Rx, query string, args ...any) ([]T, error) {
	rows, err := rx.c.query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.name, err)
	}
	defer rows.Close()
	var out []T
	var body sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("read %s: %w", t.name, err)
		}
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			return nil, fmt.Errorf("read %s: %w", t.name, err)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// where is a SELECT of bodies with a condition, ordered by id.
func (t *table[T]) where(cond string) string {
	return "SELECT body FROM " + t.name + " WHERE " + cond + " ORDER BY id"
}
