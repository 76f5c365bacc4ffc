package control

import (
	"context"
	"maps"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// documents are what hosts are told of VPCs and of each other. Those of VPCs
// with an instance on some host are kept, so that a change costs what it
// changes and not what the VPC holds.
type documents struct {
	site  plan.Site
	vpcs  map[string]*document
	of    map[string]string // VPC, by id of a group or interface in one of vpcs
	hosts plan.Hosts
	begun bool // those of all VPCs with an instance somewhere were made
}

// A document is a Vpc and who has a part of it.
type document struct {
	plan.Vpc
	on map[string]int // interfaces, by host

	// What the last pass did to it.
	update *plan.VpcUpdate // nil: nothing
	whole  *plan.Vpc       // copy for those who have no base, made when needed
}

func newDocuments(site plan.Site) documents {
	return documents{site: site, vpcs: map[string]*document{}, of: map[string]string{},
		hosts: plan.Hosts{Hosts: map[string]plan.Host{}, Zones: map[string]plan.Zone{}}}
}

// read brings the documents up to date with what d says has changed.
func (ds *documents) read(ctx context.Context, rx store.Rx, d dirty) error {
	rev, err := rx.Rev(ctx)
	if err != nil {
		return err
	}
	for _, doc := range ds.vpcs {
		doc.update, doc.whole = nil, nil
	}
	build := map[string]bool{}
	if !ds.begun {
		// A head must know of them before any node that has a part of them is
		// here: else it would stop passing on what it passed on so far.
		all, err := rx.VpcsWithInstances(ctx)
		if err != nil {
			return err
		}
		for _, id := range all {
			build[id] = true
		}
	}
	for id := range d.vpcs {
		if ds.vpcs[id] != nil {
			build[id] = true
		}
	}
	for id := range d.groups {
		g, ok, err := rx.FindGroup(ctx, id)
		if err != nil {
			return err
		}
		if doc := ds.vpcs[ds.of[id]]; doc != nil || ok && ds.vpcs[g.VpcID] != nil {
			if doc == nil {
				doc = ds.vpcs[g.VpcID]
			}
			ds.putGroup(doc, id, g, ok)
		}
	}
	for id := range d.ifaces {
		n, ok, err := rx.FindInterface(ctx, id)
		if err != nil {
			return err
		}
		doc := ds.vpcs[ds.of[id]]
		if doc == nil && ok {
			doc = ds.vpcs[n.VpcID]
		}
		if !ok {
			if doc != nil {
				ds.putIface(doc, id, plan.Iface{}, false)
			}
			continue
		}
		iface, err := ds.iface(ctx, rx, n)
		switch {
		case err != nil:
			return err
		case doc != nil:
			ds.putIface(doc, id, iface, true)
		case iface.Host != "":
			build[n.VpcID] = true
		}
	}
	for id := range build {
		if err := ds.build(ctx, rx, id); err != nil {
			return err
		}
	}
	ds.begun = true
	for _, doc := range ds.vpcs {
		if doc.update != nil {
			// A pass may read more than one stretch of the change feed at one
			// revision of the store: each makes another document.
			next := max(rev, doc.Rev+1)
			doc.update.Base, doc.update.Rev = doc.Rev, next
			doc.Rev = next
		}
	}
	return nil
}

// iface reads what belongs to an interface.
func (ds *documents) iface(ctx context.Context, rx store.Rx, n cloud.Interface) (plan.Iface, error) {
	as, err := rx.AddressesOfInterface(ctx, n.ID)
	if err != nil {
		return plan.Iface{}, err
	}
	host := ""
	if n.InstanceID != "" {
		i, ok, err := rx.FindInstance(ctx, n.InstanceID)
		if err != nil {
			return plan.Iface{}, err
		}
		if ok && i.Holds() {
			host = i.Node
		}
	}
	return plan.NewIface(ds.site, n, as, host), nil
}

// changed returns the update that doc is getting.
func (doc *document) changed(id string) *plan.VpcUpdate {
	if doc.update == nil {
		doc.update = &plan.VpcUpdate{ID: id, Groups: map[string]*plan.Group{}, Ifaces: map[string]*plan.Iface{}}
	}
	return doc.update
}

func (ds *documents) putGroup(doc *document, id string, g cloud.Group, ok bool) {
	u := doc.changed(doc.ID)
	if !ok {
		u.Groups[id] = nil
		delete(doc.Groups, id)
		delete(ds.of, id)
		return
	}
	v := plan.NewGroup(g)
	u.Groups[id], doc.Groups[id], ds.of[id] = &v, v, doc.ID
}

func (ds *documents) putIface(doc *document, id string, n plan.Iface, ok bool) {
	if was := doc.Ifaces[id].Host; was != "" {
		if doc.on[was]--; doc.on[was] == 0 {
			delete(doc.on, was)
		}
	}
	u := doc.changed(doc.ID)
	if !ok {
		u.Ifaces[id] = nil
		delete(doc.Ifaces, id)
		delete(ds.of, id)
		return
	}
	if n.Host != "" {
		doc.on[n.Host]++
	}
	u.Ifaces[id], doc.Ifaces[id], ds.of[id] = &n, n, doc.ID
}

// build reads a VPC whole.
func (ds *documents) build(ctx context.Context, rx store.Rx, id string) error {
	v, ok, err := rx.FindVpc(ctx, id)
	if err != nil {
		return err
	}
	if !ok {
		ds.forget(id)
		return nil
	}
	subnets, err := rx.SubnetsOfVpc(ctx, id)
	if err != nil {
		return err
	}
	groups, err := rx.GroupsOfVpc(ctx, id)
	if err != nil {
		return err
	}
	ifaces, err := rx.InterfacesOfVpc(ctx, id)
	if err != nil {
		return err
	}
	addresses, err := rx.AddressesOfVpc(ctx, id)
	if err != nil {
		return err
	}
	places, err := rx.InstancesOfVpc(ctx, id)
	if err != nil {
		return err
	}
	of := map[string][]cloud.Address{}
	for _, a := range addresses {
		of[a.InterfaceID] = append(of[a.InterfaceID], a)
	}
	host := make(map[string]string, len(places))
	for _, p := range places {
		host[p.ID] = p.Node
	}
	base := uint64(0)
	if old := ds.vpcs[id]; old != nil {
		base = old.Rev
		ds.forget(id)
	}
	doc := &document{Vpc: *plan.NewVpc(ds.site, v, subnets), on: map[string]int{}}
	doc.Rev = base
	ds.vpcs[id] = doc
	for _, g := range groups {
		ds.putGroup(doc, g.ID, g, true)
	}
	for _, n := range ifaces {
		ds.putIface(doc, n.ID, plan.NewIface(ds.site, n, of[n.ID], host[n.InstanceID]), true)
	}
	doc.update = &plan.VpcUpdate{ID: id, Whole: &doc.Vpc} // replaced by a copy before anybody is told
	return nil
}

// forget drops the document of a VPC.
func (ds *documents) forget(id string) {
	doc := ds.vpcs[id]
	if doc == nil {
		return
	}
	for g := range doc.Groups {
		delete(ds.of, g)
	}
	for n := range doc.Ifaces {
		delete(ds.of, n)
	}
	delete(ds.vpcs, id)
}

// copy returns doc as it is now, for hosts that have nothing to build on.
func (doc *document) copy() *plan.Vpc {
	if doc.whole == nil {
		doc.whole = doc.Vpc.Copy()
	}
	return doc.whole
}

// concerns reports whether a host must know of the VPC: it has a part of it, or
// is the head of a zone that has and passes its packets on.
func (doc *document) concerns(hosts *plan.Hosts, host string) bool {
	if doc.on[host] > 0 {
		return true
	}
	if !hosts.IsHead(host) {
		return false
	}
	zone := hosts.Hosts[host].Zone
	near, far := false, false
	for other := range doc.on {
		if hosts.Hosts[other].Zone == zone {
			near = true
		} else {
			far = true
		}
	}
	return near && (far || hosts.Zones[zone].Regime == plan.Head)
}

// setHosts takes who is in the cloud now, and returns what is new; nil for nothing.
func (ds *documents) setHosts(hosts map[string]plan.Host, zones map[string]plan.Zone, rev uint64) *plan.HostsUpdate {
	u := &plan.HostsUpdate{Base: ds.hosts.Rev, Rev: rev, Hosts: differences(ds.hosts.Hosts, hosts), Zones: differences(ds.hosts.Zones, zones)}
	if len(u.Hosts)+len(u.Zones) == 0 {
		return nil
	}
	ds.hosts = plan.Hosts{Rev: rev, Hosts: hosts, Zones: zones}
	return u
}

// differences returns what to put (nil: remove) to make was into is.
func differences[T comparable](was, is map[string]T) map[string]*T {
	out := map[string]*T{}
	for k, v := range is {
		if w, ok := was[k]; !ok || w != v {
			out[k] = &v
		}
	}
	for k := range was {
		if _, ok := is[k]; !ok {
			out[k] = nil
		}
	}
	return out
}

// wholeHosts returns all that is known of hosts.
func (ds *documents) wholeHosts() *plan.HostsUpdate {
	return &plan.HostsUpdate{Whole: &plan.Hosts{Rev: ds.hosts.Rev, Hosts: maps.Clone(ds.hosts.Hosts), Zones: maps.Clone(ds.hosts.Zones)}}
}
