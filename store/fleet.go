package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"eucad/store/cloud"
)

// A fleet is what a connection last read of nodes and their use. Reading a
// thousand of them for each launch would cost more than the launch; so only
// the rows with a higher seq are read again.
type fleet struct {
	seq    int64 // up to which rows were read
	nodes  cloud.Fleet
	bodies []string // of nodes, as they were decoded
	own    bool     // it holds what the open savepoint wrote
}

const fleetSince = `SELECT u.node, u.instances, u.cpus, u.memory_mib, u.disk_gib, u.seq, u.turn, n.body
  FROM node_use u LEFT JOIN node n ON n.id = u.node WHERE u.seq > ?`

// Fleet returns the nodes and their use, with all that this transaction has
// written. The slice is the caller's own.
func (tx Tx) Fleet(ctx context.Context) (cloud.Fleet, error) {
	f := tx.c.fleet
	if f == nil {
		f = &fleet{seq: -1}
	}
	tx.c.fleet = nil // half of a change is worse than none
	if err := f.follow(ctx, tx.c); err != nil {
		return nil, fmt.Errorf("read nodes: %w", err)
	}
	f.own = tx.c.wrote
	tx.c.fleet = f
	return slices.Clone(f.nodes), nil
}

// follow reads the rows that changed.
func (f *fleet) follow(ctx context.Context, c *conn) error {
	rows, err := c.query(ctx, fleetSince, f.seq)
	if err != nil {
		return err
	}
	defer rows.Close()
	seq := f.seq
	for rows.Next() {
		var name, body sql.RawBytes
		var n cloud.Candidate
		var at int64
		if err := rows.Scan(&name, &n.Use.Instances, &n.Use.CPUs, &n.Use.MemoryMiB, &n.Use.DiskGiB, &at, &n.Turn, &body); err != nil {
			return err
		}
		seq = max(seq, at)
		if err := f.set(string(name), n, body); err != nil {
			return err
		}
	}
	f.seq = seq
	return rows.Err()
}

// set takes a row; a node that is gone, or not there yet, has no body.
func (f *fleet) set(name string, n cloud.Candidate, body []byte) error {
	i, ok := f.nodes.ByName(name)
	switch {
	case body == nil && ok:
		f.nodes, f.bodies = slices.Delete(f.nodes, i, i+1), slices.Delete(f.bodies, i, i+1)
		return nil
	case body == nil:
		return nil
	case ok && string(body) == f.bodies[i]:
		n.Node = f.nodes[i].Node
		f.nodes[i] = n
		return nil
	}
	n.Node = new(cloud.Node)
	if err := json.Unmarshal(body, n.Node); err != nil {
		return err
	}
	if ok {
		f.nodes[i], f.bodies[i] = n, string(body)
		return nil
	}
	f.nodes, f.bodies = slices.Insert(f.nodes, i, n), slices.Insert(f.bodies, i, string(body))
	return nil
}
