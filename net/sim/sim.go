// Package sim is a network that remembers what it was told and moves no packet.
// With it and a simulated hypervisor a whole cloud runs without root.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"eucad/net/fabric"
)

// A Network is a simulated fabric.Network. The zero value is not ready; use New.
type Network struct {
	mu      sync.Mutex
	config  fabric.Config
	ports   map[string]*port
	applied int
	fault   func(op, id string) error
	closed  bool
}

type port struct {
	open, plugged bool
	late          bool // it could not be plugged, and Apply sees to it
}

var _ fabric.Network = (*Network)(nil)

// New returns a network without routers.
func New() *Network { return &Network{ports: map[string]*port{}} }

// SetFault has f decide which calls fail from now on, nil that none do: op is
// "apply", "open", "plug" or "stats" and id the router or port it is about.
// It is called with the network locked.
func (n *Network) SetFault(f func(op, id string) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = f
}

func (n *Network) may(ctx context.Context, op, id string) error {
	switch {
	case n.closed:
		return fmt.Errorf("the network is closed: %w", fs.ErrClosed)
	case ctx.Err() != nil:
		return ctx.Err()
	case n.fault != nil:
		return n.fault(op, id)
	}
	return nil
}

// Apply remembers c, without the routers that a fault is for: they stay as they
// were. See fabric.Network.
func (n *Network) Apply(ctx context.Context, c fabric.Config) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := map[string]fabric.Router{}
	for _, r := range n.config.Routers {
		old[r.ID] = r
	}
	var errs []error
	var now []fabric.Router
	if n.closed {
		return n.may(ctx, "apply", "")
	}
	for _, r := range c.Routers {
		err := n.may(ctx, "apply", r.ID)
		if err == nil {
			err = r.Check()
		}
		if err == nil {
			now = append(now, r)
			continue
		}
		errs = append(errs, &fabric.RouterError{Router: r.ID, Err: err})
		if r, ok := old[r.ID]; ok {
			now = append(now, r)
		}
	}
	n.config = fabric.Config{Routers: now, Public: c.Public}
	n.applied++
	n.sweep()
	return errors.Join(append(errs, n.plugLate(ctx))...)
}

// plugLate plugs the ports that machines have open and that could not be plugged.
func (n *Network) plugLate(ctx context.Context) error {
	var errs []error
	for _, r := range n.config.Routers {
		for _, p := range r.Ports {
			if !n.ports[p.ID].late {
				continue
			}
			if err := n.plug(ctx, p.ID); err != nil {
				errs = append(errs, &fabric.RouterError{Router: r.ID, Err: err})
			}
		}
	}
	return errors.Join(errs...)
}

// sweep forgets the ports that no router has.
func (n *Network) sweep() {
	known := map[string]bool{}
	for _, r := range n.config.Routers {
		for _, p := range r.Ports {
			known[p.ID] = true
			if n.ports[p.ID] == nil {
				n.ports[p.ID] = &port{}
			}
		}
	}
	maps.DeleteFunc(n.ports, func(id string, _ *port) bool { return !known[id] })
}

// OpenPort notes that a machine may use the port; see fabric.Network.
func (n *Network) OpenPort(ctx context.Context, p fabric.Port) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.may(ctx, "open", p.ID); err != nil {
		return fmt.Errorf("open port %s: %w", p.ID, err)
	}
	if n.ports[p.ID] == nil {
		n.ports[p.ID] = &port{}
	}
	*n.ports[p.ID] = port{open: true}
	return nil
}

// Plug notes that the port's machine is on the network; see fabric.Network.
func (n *Network) Plug(ctx context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.plug(ctx, id)
}

func (n *Network) plug(ctx context.Context, id string) error {
	if err := n.may(ctx, "plug", id); err != nil {
		if p := n.ports[id]; p != nil {
			p.late = p.open && !p.plugged
		}
		return fmt.Errorf("plug %s: %w", id, err)
	}
	switch p := n.ports[id]; {
	case !n.has(id):
		return fmt.Errorf("plug %s: no router has this port: apply a Config with it first", id)
	case !p.open:
		return fmt.Errorf("plug %s: no machine has its tap open", id)
	default:
		p.plugged, p.late = true, false
	}
	return nil
}

func (n *Network) has(id string) bool {
	for _, r := range n.config.Routers {
		if slices.ContainsFunc(r.Ports, func(p fabric.Port) bool { return p.ID == id }) {
			return true
		}
	}
	return false
}

// Stats returns zeros for a port that was opened; see fabric.Network.
func (n *Network) Stats(ctx context.Context, id string) (fabric.Stats, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.may(ctx, "stats", id); err != nil {
		return fabric.Stats{}, fmt.Errorf("counters of port %s: %w", id, err)
	}
	if p := n.ports[id]; p == nil || !p.open || !n.has(id) {
		return fabric.Stats{}, fmt.Errorf("counters of port %s: has no tap", id)
	}
	return fabric.Stats{}, nil
}

// Close ends the network; see fabric.Network.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return nil
}

// Config returns what was applied last. It must not be changed.
func (n *Network) Config() fabric.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.config
}

// Plugged returns the ids of the ports that machines are plugged into, in order.
func (n *Network) Plugged() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for id, p := range n.ports {
		if p.plugged {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Applied returns how many times Apply was called.
func (n *Network) Applied() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.applied
}
