package simtest

import (
	"context"
	"time"

	"eucad/hyper"
	"eucad/store/cloud"
)

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
		case i.State != cloud.Running && (i.Reason == nil || i.Reason.Code == "" || i.Reason.Message == ""):
			w.failf("%s is %s, and nothing says why", i.ID, i.State)
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
		if i := t.instances[a.InstanceID]; a.Auto && !i.Holds() {
			w.failf("%s was given to an instance that is %q, and not given back", a.IP, i.State)
		}
		if gone(a.InstanceID) {
			w.failf("%s is of %s, which is gone", a.ID, a.InstanceID)
		}
	}
	for _, v := range t.volumes {
		if gone(v.InstanceID) {
			w.failf("%s is of %s, which is gone", v.ID, v.InstanceID)
		}
	}
	w.checkAsked(&t)
	w.checkOpen(&t)
	w.checkNetworks(&t)
}

// checkEmpty looks whether anything is left of instances that are all ended.
func (w *world) checkEmpty() {
	t := w.table()
	for _, i := range t.instances {
		if i.State != cloud.Terminated {
			w.failf("%s is %s, and was to be terminated", i.ID, i.State)
		}
	}
	for _, n := range t.interfaces {
		w.failf("%s is left", n.ID)
	}
	for _, h := range w.hosts {
		if all := h.machines(); len(all) > 0 {
			w.failf("%s has %v left", h.row.Name, all)
		}
		if r, p := h.net.Config().Routers, h.net.Plugged(); len(r)+len(p) > 0 {
			w.failf("%s has routers %v and ports %v left", h.row.Name, r, p)
		}
	}
	for name, u := range t.use {
		if u.Instances != 0 || u.CPUs != 0 || u.MemoryMiB != 0 {
			w.failf("%s is used by nobody, and says %+v", name, u)
		}
	}
}

// checkAsked looks whether what was asked for and accepted has come to its end
// or to a named failure.
func (w *world) checkAsked(t *table) {
	for id, action := range w.client.asked {
		i, listed := t.instances[id]
		ok := false
		switch action {
		case "TerminateInstances":
			ok = !listed || i.State == cloud.Terminated
		case "StopInstances":
			ok = i.State == cloud.Stopped || i.State == cloud.Terminated
		default:
			ok = i.State == cloud.Running || i.Reason != nil
		}
		if !ok {
			w.failf("%s of %s was accepted, and it is %q", action, id, i.State)
		}
	}
}

// checkOpen compares who has volumes open with which guests run.
func (w *world) checkOpen(t *table) {
	open := w.heads.volumes.Open()
	for _, v := range t.volumes {
		want := ""
		if i := t.instances[v.InstanceID]; v.Pool == cloud.PoolNetwork && i.State == cloud.Running {
			want = i.Node
		}
		if open[v.ID] != want {
			w.failf("%s of %q is open on %q, not on %q", v.ID, v.InstanceID, open[v.ID], want)
		}
		delete(open, v.ID)
	}
	for id, host := range open {
		w.failf("%s is gone, and open on %s", id, host)
	}
}
