package libvirt

import (
	"context"
	"fmt"
	"maps"
	"slices"

	golibvirt "github.com/digitalocean/go-libvirt"

	"eucad/hyper"
)

// List reports every machine of ours, running or not, in the order of their ids.
func (d *Driver) List(ctx context.Context) ([]hyper.Status, error) {
	running, err := d.domains(ctx)
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	d.mu.Lock()
	known := make(map[string]record, len(d.recs))
	for id, r := range d.recs {
		known[id] = *r
	}
	d.mu.Unlock()
	var out []hyper.Status
	for _, id := range slices.Sorted(maps.Keys(known)) {
		r := known[id]
		dom, ok := running[id]
		delete(running, id)
		if !ok && r.state.State == hyper.Running {
			// It ended unseen, or began after the domains were listed.
			_, alive, err := d.find(ctx, id, r.machine.Machine.UUID)
			if err != nil {
				return nil, err
			}
			if !alive {
				d.settle(id)
				r = d.record(id)
			}
		}
		s := status(r)
		if ok && s.State != hyper.Running && dom.Name == id {
			s.State, s.Boot = hyper.Running, r.machine.Machine.Boot // started, but we were killed before we noted it
		}
		out = append(out, s)
	}
	for id, dom := range running {
		n, err := d.note(ctx, dom)
		if err != nil {
			return nil, fmt.Errorf("list machines: %s: %w", id, err)
		}
		if n.Dir == d.machineDir(id) { // ours, but the record is lost
			out = append(out, hyper.Status{ID: id, State: hyper.Running, Boot: n.Boot, Meta: []byte(n.Meta)})
		}
	}
	return out, nil
}

// domains returns the running domains whose names are a machine's.
func (d *Driver) domains(ctx context.Context) (map[string]golibvirt.Domain, error) {
	var all []golibvirt.Domain
	err := d.client.call(ctx, callTime, func(l *golibvirt.Libvirt) error {
		var err error
		all, _, err = l.ConnectListAllDomains(1, golibvirt.ConnectListDomainsActive)
		return err
	})
	if err != nil {
		return nil, err
	}
	ours := map[string]golibvirt.Domain{}
	for _, dom := range all {
		if hyper.CheckID(dom.Name) == nil && dom.UUID != (golibvirt.UUID{}) {
			ours[dom.Name] = dom
		}
	}
	return ours, nil
}

// status is what is kept of a machine, as the driver's user sees it.
func status(r record) hyper.Status {
	return hyper.Status{
		ID: r.machine.Machine.ID, State: r.state.State, Boot: r.state.Boot,
		Since: r.state.Since, Meta: r.machine.Machine.Meta,
	}
}
