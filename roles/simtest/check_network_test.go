package simtest

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"eucad/net/fabric"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

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
			hosts.Zones[k.Zone] = plan.Zone{Head: k.Head, Regime: plan.Regime(k.Regime)}
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
	w.checkPublic(t)
	for _, h := range w.hosts {
		w.checkPlugged(t, h)
		w.checkKept(t, h, docs)
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

// checkPublic looks whether each public address is served by one host, if it
// leads anywhere.
func (w *world) checkPublic(t *table) {
	served := map[netip.Addr][]string{}
	for _, h := range w.hosts {
		for _, r := range h.net.Config().Routers {
			if r.Exit.IsValid() {
				continue // the head has the public network
			}
			for _, p := range r.Ports {
				if p.Public.IsValid() {
					served[p.Public] = append(served[p.Public], h.row.Name)
				}
				for ip := range p.PublicOf {
					served[ip] = append(served[ip], h.row.Name)
				}
			}
			for ip := range r.Publics {
				served[ip] = append(served[ip], h.row.Name)
			}
		}
	}
	for _, a := range t.addresses {
		want := 0
		if i := t.instances[a.InstanceID]; a.InterfaceID != "" && i.Holds() {
			want = 1
		}
		if got := served[a.IP]; len(got) != want {
			w.failf("%s of %q is served by %v, and should be by %d", a.IP, a.InstanceID, got, want)
		}
		delete(served, a.IP)
	}
	for ip, on := range served {
		w.failf("%s is nobody's, and served by %v", ip, on)
	}
}

// checkPlugged looks whether all guests of the host are in their networks.
func (w *world) checkPlugged(t *table, h *host) {
	plugged := h.net.Plugged()
	for _, n := range t.interfaces {
		i := t.instances[n.InstanceID]
		if i.State == cloud.Running && i.Node == h.row.Name && !slices.Contains(plugged, n.ID) {
			w.failf("%s runs on %s, and its %s is not plugged in", i.ID, i.Node, n.ID)
		}
	}
}

// checkKept compares the plan that the host has kept with the rows.
func (w *world) checkKept(t *table, h *host, docs []*plan.Vpc) {
	data, err := os.ReadFile(h.keep)
	var kept struct{ Plan plan.Batch }
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		w.failf("the plan that %s has kept: %v", h.row.Name, err)
		return
	}
	for _, m := range kept.Plan.Machines {
		if i := t.instances[m.ID]; i.Node != h.row.Name || i.State == cloud.Terminated || !m.Since.Equal(i.Since) || m.Boot != i.Boot {
			w.failf("%s has kept %s as of boot %d, %v; it is %s on %q, boot %d, %v", h.row.Name, m.ID, m.Boot, m.Since, i.State, i.Node, i.Boot, i.Since)
		}
	}
	for _, i := range t.instances {
		if i.Node == h.row.Name && i.State != cloud.Terminated && !slices.ContainsFunc(kept.Plan.Machines, func(m plan.Machine) bool { return m.ID == i.ID }) {
			w.failf("%s has not kept %s", h.row.Name, i.ID)
		}
	}
	for _, u := range kept.Plan.Vpcs {
		n := slices.IndexFunc(docs, func(v *plan.Vpc) bool { return v.ID == u.ID })
		if n < 0 {
			w.failf("%s has kept %s, which is gone", h.row.Name, u.ID)
			continue
		}
		want := *docs[n]
		want.Rev = u.Whole.Rev
		if d := cmp.Diff(&want, u.Whole, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
			w.failf("%s has kept %s otherwise (-want +got):\n%s", h.row.Name, u.ID, d)
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
	slices.SortFunc(routers, func(a, b fabric.Router) int { return strings.Compare(a.ID, b.ID) })
	b, err := json.Marshal(routers)
	if err != nil {
		panic(err)
	}
	return string(b)
}
