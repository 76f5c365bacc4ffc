package simtest

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"eucad/hyper"
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
	t := &w.checked
	if rev := w.front.db.Rev(); t.instances == nil || rev != w.checkedRev {
		w.checked, w.checkedRev = w.table(), rev
		w.checkAddresses(t)
		w.checkUse(t)
		w.checkDescribed(t)
	}
	w.checkDeadlines(t)
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
	w.checkLosses()
	over := map[string]int{}
	for id, node := range running {
		i, ok := t.instances[id]
		if left := i.Fencing && t.strays[cloud.StrayKey(id, node)]; !ok || i.Node != node && !left {
			w.failf("%s runs on %s, its row says %q", id, node, i.Node)
		}
		if i.Node == node && (i.State == cloud.Stopped || i.State == cloud.Terminated) {
			w.failf("%s is %s, and runs on %s", id, i.State, node)
		}
		over[node] += i.CPUs
	}
	for _, n := range t.nodes {
		if over[n.Name] > n.CPUs {
			w.failf("%s runs guests with %d CPUs, and may have %d", n.Name, over[n.Name], n.CPUs)
		}
	}
}

// checkLosses looks whether a node that lives has stopped its guests before
// their volumes are taken from it.
func (w *world) checkLosses() {
	for _, l := range w.heads.volumes.Losses() {
		for _, h := range w.hosts {
			if lived := l.At.Sub(h.booted); h.row.Name == l.Host && h.agent != nil && lived > plan.MoveAfter {
				w.failf("%s was taken from %s, which had lived for %v and had it open", l.Volume, l.Host, lived)
			}
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

// A stay is one of an instance in the state pending.
type stay struct {
	since time.Time // as stored
	seen  time.Time // by us, which may be later
}

// checkDeadlines looks whether launches are given up in time, and not before,
// whatever clocks say.
func (w *world) checkDeadlines(t *table) {
	const slack = time.Minute
	for id, i := range t.instances {
		was, waited := w.stays[id]
		switch {
		case i.State == cloud.Pending && (!waited || !was.since.Equal(i.Since)):
			w.stays[id] = stay{i.Since, time.Now()}
		case i.State == cloud.Pending:
			from := was.seen
			if w.front.start.After(from) { // waits begin anew with the front end
				from = w.front.start
			}
			if d := time.Since(from); d > launchTime+slack {
				w.failf("%s is pending for %v", id, d)
			}
		case waited:
			if d := time.Since(was.seen); i.Reason != nil && strings.Contains(i.Reason.Message, "not running after") && d < launchTime-slack {
				w.failf("%s was given up after %v: %s", id, d, i.Reason.Message)
			}
			delete(w.stays, id)
		}
	}
}

var described = regexp.MustCompile(`(?s)<instanceId>(i-[0-9a-f]{17})</instanceId>.*?<instanceState><code>\d+</code><name>([a-z-]+)</name>`)

// checkDescribed compares what users see with what is stored.
func (w *world) checkDescribed(t *table) {
	for _, account := range w.front.accounts {
		_, body := w.front.call(account, "DescribeInstances")
		seen := map[string]string{}
		for _, m := range described.FindAllStringSubmatch(body, -1) {
			seen[m[1]] = m[2]
		}
		for id, i := range t.instances {
			if i.AccountID == account && seen[id] != string(i.State) {
				w.failf("%s is %s, and described as %q", id, i.State, seen[id])
			}
			delete(seen, id)
		}
		if len(seen) > 0 {
			w.failf("described and not there: %v", seen)
		}
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
