package control

import (
	"context"
	"maps"
	"slices"
	"time"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// dirty is what a stretch of the change feed concerns.
type dirty struct {
	instances, vpcs map[string]bool
	volumes         []string // that are deleted
	next            uint64   // revision that was read up to
	more            bool
}

func newDirty() dirty {
	return dirty{instances: map[string]bool{}, vpcs: map[string]bool{}}
}

// sort finds the instances and VPCs whose plan changes may differ.
func sort(ctx context.Context, rx store.Rx, changes []store.Change) (dirty, error) {
	d := newDirty()
	seen := map[store.Change]bool{}
	for _, c := range changes {
		c.Rev = 0
		if seen[c] {
			continue
		}
		seen[c] = true
		switch c.Kind {
		case "instance":
			d.instances[c.ID] = true
		case "tag":
			if cloud.ResourceType(c.ID) == "instance" {
				d.instances[c.ID] = true
			}
		case "interface":
			n, ok, err := rx.FindInterface(ctx, c.ID)
			if err != nil {
				return d, err
			}
			if ok { // else its instance changed too
				d.vpcs[n.VpcID] = true
				if n.InstanceID != "" {
					d.instances[n.InstanceID] = true
				}
			}
		case "security_group":
			g, ok, err := rx.FindGroup(ctx, c.ID)
			if err != nil {
				return d, err
			}
			if ok {
				d.vpcs[g.VpcID] = true
			}
		case "volume":
			v, ok, err := rx.FindVolume(ctx, c.ID)
			if err != nil {
				return d, err
			}
			if !ok {
				d.volumes = append(d.volumes, c.ID)
			} else if v.InstanceID != "" {
				d.instances[v.InstanceID] = true
			}
		case "vpc":
			d.vpcs[c.ID] = true
		}
	}
	return d, nil
}

// tell delivers to each node (or those named in only) what of d concerns it.
func (c *Control) tell(ctx context.Context, d dirty, only []string) error {
	nodes := c.joined(only)
	batches := map[string]*plan.Batch{}
	starts := map[string]uint64{} // instance → boot
	to := func(name string) *plan.Batch {
		if batches[name] == nil {
			batches[name] = &plan.Batch{}
		}
		return batches[name]
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(d.instances)), batchMax) {
		err := c.db.Read(ctx, func(rx store.Rx) error {
			for _, id := range part {
				i, ok, err := rx.FindInstance(ctx, id)
				if err != nil {
					return err
				}
				if !ok || nodes[i.Node] == nil {
					continue
				}
				d.vpcs[i.VpcID] = true
				if i.State == cloud.Terminated {
					to(i.Node).Forget = append(to(i.Node).Forget, id)
					continue
				}
				m, err := c.machine(ctx, rx, i)
				if err != nil {
					return err
				}
				to(i.Node).Machines = append(to(i.Node).Machines, m)
				if i.State == cloud.Pending {
					starts[id] = i.Boot
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := c.routers(ctx, nodes, d.vpcs, to); err != nil {
		return err
	}
	for name := range nodes {
		if len(d.volumes) > 0 {
			to(name).Drop = d.volumes
		}
	}
	c.markSent(starts, time.Now().UTC()) // a report may come before Deliver returns
	for name, b := range batches {
		nodes[name].Deliver(*b)
	}
	return nil
}

// machine reads the rows of i and translates them.
func (c *Control) machine(ctx context.Context, rx store.Rx, i cloud.Instance) (plan.Machine, error) {
	r := plan.InstanceRows{Instance: i}
	var err error
	if r.Volumes, err = rx.VolumesOfInstance(ctx, i.ID); err != nil {
		return plan.Machine{}, err
	}
	if r.Interfaces, err = rx.InterfacesOfInstance(ctx, i.ID); err != nil {
		return plan.Machine{}, err
	}
	if i.State == cloud.ShuttingDown {
		return plan.NewMachine(c.site, r), nil
	}
	for _, n := range r.Interfaces {
		as, err := rx.AddressesOfInterface(ctx, n.ID)
		if err != nil {
			return plan.Machine{}, err
		}
		r.Addresses = append(r.Addresses, as...)
		gs, err := rx.Groups(ctx, i.AccountID, n.Groups...)
		if err != nil {
			return plan.Machine{}, err
		}
		r.Groups = append(r.Groups, gs...)
		s, err := rx.Subnet(ctx, i.AccountID, n.SubnetID)
		if err != nil {
			return plan.Machine{}, err
		}
		r.Subnets = append(r.Subnets, s)
	}
	if r.Vpc, err = rx.Vpc(ctx, i.AccountID, i.VpcID); err != nil {
		return plan.Machine{}, err
	}
	if r.Tags, err = rx.Tags(ctx, i.AccountID, "", i.ID); err != nil {
		return plan.Machine{}, err
	}
	return plan.NewMachine(c.site, r), nil
}

// routers adds the routers vpcs to the batches of the nodes that have a network.
func (c *Control) routers(ctx context.Context, nodes map[string]*node, vpcs map[string]bool, to func(string) *plan.Batch) error {
	wanting := maps.Clone(nodes)
	maps.DeleteFunc(wanting, func(_ string, n *node) bool { return n == nil || !n.net })
	if len(wanting) == 0 {
		return nil
	}
	return c.db.Read(ctx, func(rx store.Rx) error {
		for _, id := range slices.Sorted(maps.Keys(vpcs)) {
			r, places, err := vpcRows(ctx, rx, id)
			if err != nil {
				return err
			}
			for name, n := range wanting {
				r.Here = places[name]
				router, any := plan.NewRouter(c.site, r)
				switch {
				case any:
					to(name).Routers = append(to(name).Routers, router)
					n.routers[id] = true
				case n.routers[id]:
					to(name).Gone = append(to(name).Gone, id)
					delete(n.routers, id)
				}
			}
		}
		return nil
	})
}

// vpcRows reads the rows of a VPC, and which instances in it each node has on
// its hands.
func vpcRows(ctx context.Context, rx store.Rx, id string) (plan.VpcRows, map[string]map[string]bool, error) {
	var r plan.VpcRows
	places := map[string]map[string]bool{}
	v, ok, err := rx.FindVpc(ctx, id)
	if err != nil || !ok {
		r.Vpc.ID = id
		return r, places, err
	}
	r.Vpc = v
	if r.Subnets, err = rx.SubnetsOfVpc(ctx, id); err != nil {
		return r, nil, err
	}
	if r.Groups, err = rx.GroupsOfVpc(ctx, id); err != nil {
		return r, nil, err
	}
	if r.Interfaces, err = rx.InterfacesOfVpc(ctx, id); err != nil {
		return r, nil, err
	}
	if r.Addresses, err = rx.AddressesOfVpc(ctx, id); err != nil {
		return r, nil, err
	}
	on, err := rx.InstancesOfVpc(ctx, id)
	for _, i := range on {
		if places[i.Node] == nil {
			places[i.Node] = map[string]bool{}
		}
		places[i.Node][i.ID] = true
	}
	return r, places, err
}
