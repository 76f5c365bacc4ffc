package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"eucad/store/cloud"
)

var nodes = newTable("node", func(n *cloud.Node) string { return n.Name }, func(*cloud.Node) string { return "" },
	"zone", func(n *cloud.Node) []any { return []any{n.Zone} })

// Nodes returns all nodes, by name.
func (rx Rx) Nodes(ctx context.Context) ([]cloud.Node, error) { return nodes.list(ctx, rx, "", nil) }

// Node returns the node of that name, and whether there is one.
func (rx Rx) Node(ctx context.Context, name string) (cloud.Node, bool, error) {
	return nodes.find(ctx, rx, name)
}

// PutNode adds or replaces n.
func (tx Tx) PutNode(ctx context.Context, n cloud.Node) error { return nodes.put(ctx, tx, &n) }

// DeleteNode forgets the node of that name, and what was to be removed on it.
// It must have no instances: DependencyViolation when one came at last.
func (tx Tx) DeleteNode(ctx context.Context, name string) error {
	left, err := tx.InstancesOnNode(ctx, name)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return cloud.Faultf("DependencyViolation", "Node %s has %d instances, %s among them: cordon it, and end them or stop and start them.", name, len(left), left[0].ID)
	}
	if err := tx.c.exec(ctx, `DELETE FROM stray WHERE node = ?`, name); err != nil {
		return err
	}
	return nodes.remove(ctx, tx, "", name)
}

// TurnFence makes a newer Fence of n's: n gets no lease when it is on. The
// caller stores n. Numbers of the past must not come again, or the heads of
// zones take them for old: not for a node that was forgotten meanwhile, though
// the clock was set back, and not in a store that was restored.
func (tx Tx) TurnFence(ctx context.Context, n *cloud.Node, on bool) error {
	const last = "last-fence"
	text, err := tx.Setting(ctx, last)
	if err != nil {
		return err
	}
	was, _ := strconv.ParseUint(text, 10, 64) // "": none yet
	number := max(n.Fence.Number, was, uint64(max(tx.Now().UnixMilli(), 0))) + 1
	n.Fence = cloud.Fence{Number: number, On: on, Lift: !on}
	return tx.PutSetting(ctx, last, strconv.FormatUint(number, 10))
}

// Setting returns the value kept under key, or "".
func (rx Rx) Setting(ctx context.Context, key string) (string, error) {
	var v string
	err := rx.c.queryRow(ctx, `SELECT value FROM setting WHERE key = ?`, key).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return v, err
}

// PutSetting keeps value under key.
func (tx Tx) PutSetting(ctx context.Context, key, value string) error {
	return tx.c.exec(ctx, `INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, value)
}

// Audit adds the call that ctx carries to the audit trail.
func (tx Tx) Audit(ctx context.Context) error {
	c := cloud.CallFrom(ctx)
	if c.Action == "" {
		return nil
	}
	return tx.c.exec(ctx, `INSERT INTO audit (at, account_id, access_key, service, action, request_id, source) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		tx.now.UnixMilli(), c.AccountID, c.AccessKey, c.Service, c.Action, c.RequestID, c.Source)
}

// Expire drops client tokens and audit lines older than these times.
func (tx Tx) Expire(ctx context.Context, tokens, audit time.Time) error {
	return errors.Join(
		tx.c.exec(ctx, `DELETE FROM client_token WHERE created < ?`, tokens.UnixMilli()),
		tx.c.exec(ctx, `DELETE FROM audit WHERE at < ?`, audit.UnixMilli()))
}
