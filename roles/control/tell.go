package control

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// dirty is what a stretch of the change feed concerns.
type dirty struct {
	instances, vpcs, groups, ifaces map[string]bool
	strays                          map[string]bool // keys
	hosts                           bool            // who is in the cloud, or how they reach each other
	volumes                         []string        // that are deleted
	next                            uint64          // revision that was read up to
	more                            bool
}

func newDirty() dirty {
	return dirty{instances: map[string]bool{}, vpcs: map[string]bool{}, groups: map[string]bool{}, ifaces: map[string]bool{}, strays: map[string]bool{}}
}

// sort finds the instances and the parts of VPCs whose plan changes may differ.
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
			d.ifaces[c.ID] = true
			n, ok, err := rx.FindInterface(ctx, c.ID)
			if err != nil {
				return d, err
			}
			if ok && n.InstanceID != "" { // else its instance changed too
				d.instances[n.InstanceID] = true
			}
		case "stray":
			d.strays[c.ID] = true
		case "security_group":
			d.groups[c.ID] = true
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
		case "subnet":
			sub, ok, err := rx.FindSubnet(ctx, c.ID)
			if err != nil {
				return d, err
			}
			if ok {
				d.vpcs[sub.VpcID] = true
			}
		case "vpc":
			d.vpcs[c.ID] = true
		case "node", "cluster":
			d.hosts = true
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
				for _, n := range i.Interfaces {
					d.ifaces[n] = true // whether its host has it on its hands
				}
				if i.Fencing { // its node is told when no other has it
					c.rescues.Wake()
					continue
				}
				if !ok || nodes[i.Node] == nil {
					continue
				}
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
	if err := c.tellStrays(ctx, d, nodes, to); err != nil {
		return err
	}
	if err := c.network(ctx, nodes, d, only != nil, to); err != nil {
		return err
	}
	for name := range nodes {
		if len(d.volumes) > 0 {
			to(name).Drop = d.volumes
		}
	}
	c.markSent(starts, c.db.Now()) // a report may come before Deliver returns
	all := c.joined(nil)
	for name := range nodes {
		if only != nil && nodes[name] != nil {
			to(name).Full = true
		}
	}
	for name, b := range batches {
		if n := all[name]; n != nil {
			b.Rev = d.next
			if err := n.Deliver(*b); err != nil {
				slog.Warn("node is told its whole plan again", "node", name, "err", err)
				c.again(n)
			}
		}
	}
	return nil
}

// tellStrays adds to the batches which copies of instances are over, and which
// need not be named any more.
func (c *Control) tellStrays(ctx context.Context, d dirty, nodes map[string]*node, to func(string) *plan.Batch) error {
	return c.db.Read(ctx, func(rx store.Rx) error {
		for key := range d.strays {
			id, name, _ := strings.Cut(key, "/")
			if nodes[name] == nil {
				continue
			}
			s, ok, err := rx.Stray(ctx, key)
			if err != nil {
				return err
			}
			if ok {
				to(name).Machines = append(to(name).Machines, plan.NewStray(s))
				continue
			}
			i, _, err := rx.FindInstance(ctx, id)
			if err != nil {
				return err
			}
			if i.Node != name { // it may be back already
				to(name).Forget = append(to(name).Forget, id)
			}
		}
		return nil
	})
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

// network adds to the batches what changed in VPCs and among hosts. A fresh
// node is told of all that concerns it.
func (c *Control) network(ctx context.Context, nodes map[string]*node, d dirty, fresh bool, to func(string) *plan.Batch) error {
	var hosts *plan.HostsUpdate
	err := c.db.Read(ctx, func(rx store.Rx) error {
		if d.hosts || c.docs.hosts.Rev == 0 {
			var err error
			if hosts, err = c.readHosts(ctx, rx); err != nil {
				return err
			}
		}
		return c.docs.read(ctx, rx, d)
	})
	if err != nil {
		return err
	}
	all := c.joined(nil)
	c.mu.Lock()
	maps.DeleteFunc(all, func(_ string, n *node) bool { return n.fresh }) // they have nothing to build on yet
	c.mu.Unlock()
	for name, n := range all {
		if !n.net {
			continue
		}
		new := fresh && nodes[name] != nil
		switch {
		case new && n.hosts != c.docs.hosts.Rev, hosts != nil && n.hosts != hosts.Base:
			to(name).Hosts = c.docs.wholeHosts()
		case hosts != nil:
			to(name).Hosts = hosts
		}
		n.hosts = c.docs.hosts.Rev
	}
	for id, doc := range c.docs.vpcs {
		if doc.update == nil && !fresh && hosts == nil {
			continue
		}
		for name, n := range all {
			if n.net && (doc.update != nil || hosts != nil || fresh && nodes[name] != nil) {
				c.tellVpc(doc, id, name, n, to)
			}
		}
	}
	for name, n := range all { // what no document is kept of any more
		for id := range n.vpcs {
			if c.docs.vpcs[id] == nil {
				to(name).Gone = append(to(name).Gone, id)
				delete(n.vpcs, id)
			}
		}
	}
	for id, doc := range c.docs.vpcs {
		if len(doc.on) == 0 {
			c.docs.forget(id)
		}
	}
	return nil
}

// tellVpc adds to the node's batch what it must be told of one document.
func (c *Control) tellVpc(doc *document, id, name string, n *node, to func(string) *plan.Batch) {
	told, knows := n.vpcs[id]
	switch {
	case !doc.concerns(&c.docs.hosts, name):
		if knows {
			to(name).Gone = append(to(name).Gone, id)
			delete(n.vpcs, id)
		}
		return
	case knows && told == doc.Rev:
		return
	case knows && doc.update != nil && doc.update.Whole == nil && told == doc.update.Base:
		to(name).Vpcs = append(to(name).Vpcs, *doc.update)
	default:
		to(name).Vpcs = append(to(name).Vpcs, plan.VpcUpdate{ID: id, Whole: doc.copy()})
	}
	n.vpcs[id] = doc.Rev
}

// readHosts reads who is in the cloud and returns what is new of it.
func (c *Control) readHosts(ctx context.Context, rx store.Rx) (*plan.HostsUpdate, error) {
	rev, err := rx.Rev(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := rx.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	clusters, err := rx.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	hosts, zones := map[string]plan.Host{}, map[string]plan.Zone{}
	for _, n := range nodes {
		hosts[n.Name] = plan.Host{Zone: n.Zone, Addr: n.Net.Addr, Tunnel: n.Net.Tunnel, Key: n.Net.Key, Endpoint: n.Net.Endpoint}
	}
	for _, k := range clusters {
		z := plan.Zone{Head: k.Head, Regime: plan.Regime(k.Regime), Public: k.PublicRange}
		if !z.Public.IsValid() {
			z.Public = c.site.Public
		}
		zones[k.Zone] = z
		if k.Head == "" { // removed, and no other is there yet
			continue
		}
		hosts[k.Head] = plan.Host{Zone: k.Zone, Addr: k.Net.Addr, Tunnel: k.Net.Tunnel, Key: k.Net.Key, Endpoint: k.Net.Endpoint}
	}
	return c.docs.setHosts(hosts, zones, max(rev, 1)), nil
}
