package simtest

import (
	"cmp"
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"eucad/hyper"
	"eucad/net/fabric"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// A table is what the store holds, of all accounts.
type table struct {
	instances  map[string]cloud.Instance
	interfaces []cloud.Interface
	addresses  []cloud.Address
	volumes    []cloud.Volume
	nodes      []cloud.Node
	strays     map[string]bool // keys
	use        map[string]cloud.Use
}

func (w *world) table() table {
	w.t.Helper()
	t := table{instances: map[string]cloud.Instance{}, strays: map[string]bool{}}
	w.front.read(func(ctx context.Context, rx store.Rx) (err error) {
		for _, account := range w.front.accounts {
			is, err := rx.Instances(ctx, account)
			if err != nil {
				return err
			}
			for _, i := range is {
				t.instances[i.ID] = i
			}
			ns, err := rx.Interfaces(ctx, account)
			if err != nil {
				return err
			}
			as, err := rx.Addresses(ctx, account)
			if err != nil {
				return err
			}
			vs, err := rx.Volumes(ctx, account)
			if err != nil {
				return err
			}
			t.interfaces, t.addresses, t.volumes = append(t.interfaces, ns...), append(t.addresses, as...), append(t.volumes, vs...)
		}
		if t.nodes, err = rx.Nodes(ctx); err != nil {
			return err
		}
		for _, n := range t.nodes {
			all, err := rx.StraysOnNode(ctx, n.Name)
			if err != nil {
				return err
			}
			for _, s := range all {
				t.strays[s.Key()] = true
			}
		}
		t.use, err = rx.Use(ctx)
		return err
	})
	return t
}

// check looks for what must never be.
func (w *world) check() {
	t := w.table()
	w.checkAddresses(&t)
	w.checkUse(&t)
	running := map[string]string{}
	for _, h := range w.hosts {
		for id, s := range h.machines() {
			if s.State != hyper.Running {
				continue
			}
			if on, twice := running[id]; twice {
				w.failf("%s runs on %s and on %s", id, on, h.row.Name)
			}
			running[id] = h.row.Name
		}
		h.driver.mu.Lock()
		for _, wrong := range h.driver.wrong {
			w.failf("%s: %s", h.row.Name, wrong)
		}
		for id, boot := range h.driver.removed {
			i, ok := t.instances[id]
			moved := w.network && (i.Node != h.row.Name || i.Boot > boot)
			if ok && !moved && i.State != cloud.ShuttingDown && i.State != cloud.Terminated {
				w.failf("%s is %s, and %s removed it", id, i.State, h.row.Name)
			}
		}
		h.driver.mu.Unlock()
	}
	for _, clash := range w.heads.volumes.Clashes() {
		w.failf("the volume server had to step in: %s", clash)
	}
	over := map[string]int{}
	for id, node := range running {
		i, ok := t.instances[id]
		if left := i.Fencing && t.strays[cloud.StrayKey(id, node)]; !ok || i.Node != node && !left {
			w.failf("%s runs on %s, its row says %q", id, node, i.Node)
		}
		over[node] += i.CPUs
	}
	for _, n := range t.nodes {
		if over[n.Name] > n.CPUs {
			w.failf("%s runs guests with %d CPUs, and may have %d", n.Name, over[n.Name], n.CPUs)
		}
	}
}

func (h *host) machines() map[string]hyper.Status {
	all, err := h.driver.List(context.Background())
	if err != nil {
		h.w.t.Fatal(err)
	}
	out := map[string]hyper.Status{}
	for _, s := range all {
		out[s.ID] = s
	}
	return out
}

func (w *world) checkAddresses(t *table) {
	type place struct {
		vpc string
		ip  netip.Addr
	}
	private, public := map[place]string{}, map[netip.Addr]string{}
	for _, n := range t.interfaces {
		for _, ip := range append([]netip.Addr{n.PrivateIP}, n.Secondary...) {
			if other := private[place{n.VpcID, ip}]; other != "" {
				w.failf("%s and %s both have %s", n.ID, other, ip)
			}
			private[place{n.VpcID, ip}] = n.ID
		}
	}
	zone := map[string]string{} // by interface
	for _, n := range t.interfaces {
		zone[n.ID] = n.Zone
	}
	for _, a := range t.addresses {
		if z := zone[a.InterfaceID]; z != "" && (own[z].IsValid() && a.Zone != z || !own[z].IsValid() && a.Zone != "") {
			w.failf("%s, of the range of %q, leads to %s in %s", a.ID, a.Zone, a.InterfaceID, z)
		}
		if p := own[a.Zone]; a.Zone != "" && !p.Contains(a.IP) || a.Zone == "" && !pool.Contains(a.IP) {
			w.failf("%s is %s, which is not in the range of %q", a.ID, a.IP, a.Zone)
		}
		if other := public[a.IP]; other != "" {
			w.failf("%s and %s are both %s", a.ID, other, a.IP)
		}
		public[a.IP] = a.ID
	}
}

func (w *world) checkUse(t *table) {
	sum := map[string]cloud.Use{}
	for _, i := range t.instances {
		if i.Holds() {
			u := sum[i.Node]
			u.Instances, u.CPUs, u.MemoryMiB = u.Instances+1, u.CPUs+i.CPUs, u.MemoryMiB+i.MemoryMiB
			sum[i.Node] = u
		}
	}
	for _, v := range t.volumes {
		if v.Node != "" {
			u := sum[v.Node]
			u.DiskGiB += v.SizeGiB
			sum[v.Node] = u
		}
	}
	for _, n := range t.nodes {
		u := sum[n.Name]
		if t.use[n.Name] != u {
			w.failf("node_use of %s is %+v, the sum over rows %+v", n.Name, t.use[n.Name], u)
		}
		if u.CPUs > n.CPUs || u.MemoryMiB > n.MemoryMiB || u.DiskGiB > n.DiskGiB {
			w.failf("%s holds %+v, more than %d CPUs, %d MiB, %d GiB", n.Name, u, n.CPUs, n.MemoryMiB, n.DiskGiB)
		}
	}
}

// checkEnd looks whether all that was asked for has come to its end.
func (w *world) checkEnd() {
	t := w.table()
	machines := map[string]map[string]hyper.Status{}
	for _, h := range w.hosts {
		machines[h.row.Name] = h.machines()
		orphans, err := h.agent.Orphans(context.Background())
		if err != nil || len(orphans) > 0 {
			w.failf("%s has guests that nobody knows: %v %v", h.row.Name, orphans, err)
		}
	}
	for key := range t.strays {
		w.failf("%s is not removed", key)
	}
	for _, n := range t.nodes {
		if n.Lost || n.Fence.On || n.Fence.Lift {
			w.failf("%s is lost: %v; its lease: %+v", n.Name, n.Lost, n.Fence)
		}
		for id := range machines[n.Name] {
			if i := t.instances[id]; i.Node != n.Name {
				w.failf("%s is %s on %q, and something of it is on %s", id, i.State, i.Node, n.Name)
			}
		}
	}
	for _, i := range t.instances {
		s, there := machines[i.Node][i.ID]
		switch {
		case !i.State.AtRest():
			w.failf("%s is %s since %s, at %s; its node %s has %+v", i.ID, i.State, i.Since, time.Now().UTC(), i.Node, s.State)
		case i.State == cloud.Running && (s.State != hyper.Running || s.Boot != i.Boot):
			w.failf("%s is running in boot %d, its node %s says %q boot %d", i.ID, i.Boot, i.Node, s.State, s.Boot)
		case i.State == cloud.Stopped && s.State == hyper.Running:
			w.failf("%s is stopped, and runs on %s", i.ID, i.Node)
		case i.State == cloud.Terminated && there:
			w.failf("%s is terminated, and %s still has it", i.ID, i.Node)
		case i.State == cloud.Terminated && (i.Reason == nil || i.Reason.Code == ""):
			w.failf("%s is terminated, and nothing says why", i.ID)
		}
	}
	gone := func(instance string) bool {
		i, ok := t.instances[instance]
		return instance != "" && (!ok || i.State == cloud.Terminated)
	}
	for _, n := range t.interfaces {
		if gone(n.InstanceID) {
			w.failf("%s is of %s, which is gone", n.ID, n.InstanceID)
		}
	}
	for _, a := range t.addresses {
		if gone(a.InstanceID) {
			w.failf("%s is of %s, which is gone", a.ID, a.InstanceID)
		}
	}
	for _, v := range t.volumes {
		if gone(v.InstanceID) {
			w.failf("%s is of %s, which is gone", v.ID, v.InstanceID)
		}
	}
	w.checkNetworks(&t)
}

// checkNetworks compares each host's network with what its rows make of it,
// read afresh and whole.
func (w *world) checkNetworks(t *table) {
	hosts := plan.Hosts{Hosts: map[string]plan.Host{}, Zones: map[string]plan.Zone{}}
	var docs []*plan.Vpc
	site := plan.Site{Region: region, Domain: "example.net"}
	w.front.read(func(ctx context.Context, rx store.Rx) error {
		for _, n := range t.nodes {
			hosts.Hosts[n.Name] = plan.Host{Zone: n.Zone, Addr: n.Net.Addr, Tunnel: n.Net.Tunnel}
		}
		clusters, err := rx.Clusters(ctx)
		if err != nil {
			return err
		}
		for _, k := range clusters {
			hosts.Zones[k.Zone] = plan.Zone{Head: k.Head, Regime: plan.Regime(k.Regime), Public: k.PublicRange}
		}
		for _, account := range w.front.accounts {
			vpcs, err := rx.Vpcs(ctx, account)
			if err != nil {
				return err
			}
			for _, v := range vpcs {
				doc, err := readVpc(ctx, rx, site, v, t)
				if err != nil {
					return err
				}
				docs = append(docs, doc)
			}
		}
		return nil
	})
	for _, h := range w.hosts {
		var want fabric.Config
		for _, doc := range docs {
			if r, ok := plan.NewRouter(doc, &hosts, h.row.Name); ok {
				want.Routers = append(want.Routers, r)
			}
		}
		if got, want := text(h.net.Config()), text(want); got != want {
			w.failf("network of %s\nis     %s\nshould %s", h.row.Name, got, want)
		}
	}
}

func readVpc(ctx context.Context, rx store.Rx, site plan.Site, v cloud.Vpc, t *table) (*plan.Vpc, error) {
	subnets, err := rx.SubnetsOfVpc(ctx, v.ID)
	if err != nil {
		return nil, err
	}
	doc := plan.NewVpc(site, v, subnets)
	groups, err := rx.GroupsOfVpc(ctx, v.ID)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		doc.Groups[g.ID] = plan.NewGroup(g)
	}
	for _, n := range t.interfaces {
		if n.VpcID != v.ID {
			continue
		}
		host := ""
		if i := t.instances[n.InstanceID]; i.Holds() {
			host = i.Node
		}
		var as []cloud.Address
		for _, a := range t.addresses {
			if a.InterfaceID == n.ID {
				as = append(as, a)
			}
		}
		doc.Ifaces[n.ID] = plan.NewIface(site, n, as, host)
	}
	return doc, nil
}

// text is c in an order of its own.
func text(c fabric.Config) string {
	routers := slices.Clone(c.Routers)
	slices.SortFunc(routers, func(a, b fabric.Router) int { return cmp.Compare(a.ID, b.ID) })
	b, err := json.Marshal(routers)
	if err != nil {
		panic(err)
	}
	return string(b)
}
