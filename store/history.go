package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"eucad/store/cloud"
)

// Bounds of an instance's history.
const (
	eventsMax    = 100      // older ones go
	eventTextMax = 1 << 10  // bytes of an event's text
	historyMax   = 64 << 10 // bytes of all events; older ones go
)

// AddInstance adds i, which must be new, with the first events of its history.
func (tx Tx) AddInstance(ctx context.Context, i cloud.Instance, events ...cloud.Event) error {
	text, err := encodeHistory(events)
	if err != nil {
		return fmt.Errorf("write history of %s: %w", i.ID, err)
	}
	return instances.write(ctx, tx, addInstance, &i, text)
}

// One statement: a launch must not cost more for having a history.
const addInstance = `INSERT INTO instance (id, account_id, reservation_id, state, since, node, cpus, memory_mib, body, history)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// Note adds events to the history of instance id. One that is there already
// (of this kind and text, for this start) is not added again: reports repeat.
// The change feed does not tell of it.
func (tx Tx) Note(ctx context.Context, id string, events ...cloud.Event) error {
	all, err := tx.History(ctx, id)
	if err != nil {
		return err
	}
	had := len(all)
	for _, e := range events {
		if len(e.Text) > eventTextMax {
			e.Text = strings.ToValidUTF8(e.Text[:eventTextMax], "")
		}
		if !known(all, e) {
			all = append(all, e)
		}
	}
	if len(all) == had {
		return nil
	}
	text, err := encodeHistory(all[max(len(all)-eventsMax, 0):])
	if err != nil {
		return fmt.Errorf("write history of %s: %w", id, err)
	}
	return tx.c.exec(ctx, `UPDATE instance SET history = ? WHERE id = ?`, text, id)
}

func known(all []cloud.Event, e cloud.Event) bool {
	for _, o := range all {
		if o.Kind == e.Kind && o.Boot == e.Boot && o.Text == e.Text {
			return true
		}
	}
	return false
}

// History returns the events of instance id, oldest first.
func (rx Rx) History(ctx context.Context, id string) ([]cloud.Event, error) {
	var text string
	err := rx.c.queryRow(ctx, `SELECT history FROM instance WHERE id = ?`, id).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) || text == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []cloud.Event
	for line := range strings.Lines(text) {
		var e cloud.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("read history of %s: %w", id, err)
		}
		all = append(all, e)
	}
	return all, nil
}

// encodeHistory returns the lines of the last events that have room.
func encodeHistory(events []cloud.Event) (string, error) {
	var lines []string
	size := 0
	for _, e := range slices.Backward(events) {
		b, err := json.Marshal(e)
		if err != nil {
			return "", err
		}
		if size += len(b) + 1; size > historyMax {
			break
		}
		lines = append(lines, string(b)+"\n")
	}
	slices.Reverse(lines)
	return strings.Join(lines, ""), nil
}
