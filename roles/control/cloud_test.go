package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"eucad/hyper"
	"eucad/hyper/sim"
	"eucad/roles/cluster"
	"eucad/roles/control"
	"eucad/roles/node"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

const leaseEvery = 3 * time.Second // between a node's signs of life

// A site is a front end, a zone's head and nodes on simulated machines, in one
// process and in the time of a synctest bubble.
type site struct {
	t       *testing.T
	db      *store.DB
	volumes *sim.Volumes
	head    atomic.Pointer[cluster.Leases] // nil: it is down
	hosts   map[string]*host

	mu      sync.Mutex
	control *control.Control // nil: the front end is down
	halt    func()           // stops the front end
}

// A host is a node and its links to the head and, by way of that, the front end.
type host struct {
	s      *site
	name   string
	driver *sim.Driver
	agent  *node.Agent
	cut    atomic.Bool // nothing gets through
	deaf   atomic.Bool // nothing but what is between it and the head
	hung   atomic.Bool // it does not see that its lease runs out
}

// newSite returns a site with these nodes, each with room for two instances.
func newSite(t *testing.T, names ...string) *site {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	db, err := store.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, db: db, volumes: sim.NewVolumes(), hosts: map[string]*host{}}
	s.write(func(ctx context.Context, tx store.Tx) error {
		errs := []error{tx.PutVpc(ctx, cloud.Vpc{ID: "vpc-1", AccountID: "a"})}
		for _, n := range names {
			errs = append(errs, tx.PutNode(ctx, cloud.Node{Name: n, Zone: "z", Arch: "x86_64", Kind: "sim", CPUs: 2, MemoryMiB: 2048, DiskGiB: 100, Seen: tx.Now()}))
		}
		return errors.Join(errs...)
	})
	s.head.Store(cluster.NewLeases(s.volumes))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, n := range names {
		h := &host{s: s, name: n}
		if h.driver, err = sim.New(sim.Options{Name: n, Volumes: s.volumes}); err != nil {
			t.Fatal(err)
		}
		h.agent = node.New(node.Options{Name: n, Driver: h.driver, Dir: "/sim", Leased: true, Report: h.report,
			Image: func(_ context.Context, hash string) (string, error) { return "/sim/" + hash, nil }})
		s.hosts[n] = h
		wg.Go(func() { h.agent.Run(ctx) })
		wg.Go(func() { h.renew(ctx) })
	}
	s.start()
	t.Cleanup(func() {
		s.halt()
		cancel()
		wg.Wait()
		db.Close()
	})
	return s
}

// start starts the front end, as after a start of eucad.
func (s *site) start() {
	c := control.New(s.db, control.Options{Fencer: s})
	for _, h := range s.hosts {
		if !h.cut.Load() && !h.deaf.Load() {
			c.Join(h.name, h, false)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	wg.Go(func() { c.Watch(ctx) })
	s.mu.Lock()
	s.control = c
	s.mu.Unlock()
	s.halt = func() {
		s.mu.Lock()
		s.control = nil
		s.mu.Unlock()
		cancel()
		wg.Wait()
	}
}

// restart takes the front end down for a while.
func (s *site) restart(away time.Duration) {
	s.halt()
	s.sleep(away)
	s.start()
	s.sleep(time.Second)
}

// Fence asks the head; see control.Fencer.
func (s *site) Fence(ctx context.Context, _ string, f plan.Fence) (time.Duration, error) {
	if l := s.head.Load(); l != nil {
		return l.Fence(ctx, f)
	}
	return 0, plan.ErrNoHead
}

// unleased makes a node that never stops its guests by itself.
func (h *host) unleased() { h.hung.Store(true) }

// frontEnd returns the front end that the host reaches, or nil.
func (h *host) frontEnd() *control.Control {
	if h.cut.Load() || h.deaf.Load() {
		return nil
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	return h.s.control
}

// Deliver loses what is sent while the host is cut off.
func (h *host) Deliver(b plan.Batch) error {
	if h.cut.Load() || h.deaf.Load() {
		return nil
	}
	return h.agent.Deliver(b)
}

func (h *host) report(ctx context.Context, all []plan.Status) error {
	c := h.frontEnd()
	if c == nil {
		return errors.New("no way to the front end")
	}
	c.Renew(h.name)
	return c.ReportFrom(ctx, h.name, all)
}

func (h *host) renew(ctx context.Context) {
	t := time.NewTicker(leaseEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if c := h.frontEnd(); c != nil {
			c.Renew(h.name)
		}
		granted, sent := h.hung.Load(), time.Now()
		if l := h.s.head.Load(); l != nil && !h.cut.Load() {
			err := l.Grant(h.name)
			granted = granted || err == nil
		}
		if granted {
			h.agent.Renewed(sent)
		}
	}
}

// lose cuts hosts off, with their guests going on.
func (s *site) lose(names ...string) {
	for _, n := range names {
		s.hosts[n].cut.Store(true)
	}
}

// heal gives a host its link back. It asks for its plan anew.
func (s *site) heal(name string) {
	h := s.hosts[name]
	h.cut.Store(false)
	h.deaf.Store(false)
	if c := h.frontEnd(); c != nil {
		c.Join(name, h, false)
	}
}

func (s *site) write(f func(context.Context, store.Tx) error) {
	s.t.Helper()
	ctx := context.Background()
	if err := s.db.Write(ctx, func(tx store.Tx) error { return f(ctx, tx) }); err != nil {
		s.t.Fatal(err)
	}
}

// launch places instance n on a node and waits until it runs there.
func (s *site) launch(n int, on, pool string, set func(*cloud.Instance)) string {
	s.t.Helper()
	id := fmt.Sprintf("i-%017x", n)
	s.write(func(ctx context.Context, tx store.Tx) error {
		v := cloud.Volume{ID: fmt.Sprintf("vol-%d", n), AccountID: "a", State: cloud.VolumeInUse, SizeGiB: 1, Zone: "z", Pool: pool, InstanceID: id, DeleteOnTermination: true}
		if pool == cloud.PoolNetwork {
			v.Holder, v.Epoch = on, 1
		} else {
			v.Node = on
		}
		i := cloud.Instance{ID: id, AccountID: "a", State: cloud.Pending, Since: tx.Now(), Zone: "z", Arch: "x86_64", Hypervisor: "kvm", VpcID: "vpc-1",
			Node: on, Boot: 1, CPUs: 1, MemoryMiB: 64, Volumes: []cloud.Mapping{{Device: "/dev/sda1", VolumeID: v.ID, DeleteOnTermination: true}}}
		if set != nil {
			set(&i)
		}
		return errors.Join(tx.PutVolume(ctx, v), tx.AddInstance(ctx, i))
	})
	s.until(time.Minute, func() bool { return s.instance(id).State == cloud.Running })
	s.expect(id, on)
	return id
}

// change moves an instance to another state, as an action of the API does.
func (s *site) change(id string, to cloud.InstanceState) {
	s.t.Helper()
	s.write(func(ctx context.Context, tx store.Tx) error {
		i, _, err := tx.FindInstance(ctx, id)
		return errors.Join(err, i.Move(to, tx.Now()), tx.PutInstance(ctx, i))
	})
}

func (s *site) instance(id string) (i cloud.Instance) {
	s.t.Helper()
	err := s.db.Read(context.Background(), func(rx store.Rx) (err error) {
		i, _, err = rx.FindInstance(context.Background(), id)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return i
}

// history returns what the history of an instance says.
func (s *site) history(id string) string {
	s.t.Helper()
	var out []string
	err := s.db.Read(context.Background(), func(rx store.Rx) error {
		all, err := rx.History(context.Background(), id)
		for _, e := range all {
			out = append(out, strings.TrimSpace(string(e.Kind)+" "+e.Text))
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(out, "; ")
}

// copies returns the nodes on which a guest runs.
func (s *site) copies(id string) (on []string) {
	s.t.Helper()
	for name, h := range s.hosts {
		all, err := h.driver.List(context.Background())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, m := range all {
			if m.ID == id && m.State == hyper.Running {
				on = append(on, name)
			}
		}
	}
	slices.Sort(on)
	return on
}

// has reports whether a node has a guest, running or not.
func (s *site) has(name, id string) bool {
	all, err := s.hosts[name].driver.List(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(m hyper.Status) bool { return m.ID == id })
}

// expect says on which node alone ("": none) the guest must run now.
func (s *site) expect(id, on string) {
	s.t.Helper()
	want := []string{on}
	if on == "" {
		want = nil
	}
	if got := s.copies(id); !slices.Equal(got, want) {
		s.t.Fatalf("%s runs on %v, want %v; it is %s on %q", id, got, want, s.instance(id).State, s.instance(id).Node)
	}
}

// sleep lets time pass, and looks all the while that no guest runs twice.
func (s *site) sleep(d time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		on := map[string]string{}
		for name, h := range s.hosts {
			all, err := h.driver.List(context.Background())
			if err != nil {
				s.t.Fatal(err)
			}
			for _, m := range all {
				if m.State != hyper.Running {
					continue
				}
				if on[m.ID] != "" {
					s.t.Fatalf("%s runs on %s and on %s", m.ID, on[m.ID], name)
				}
				on[m.ID] = name
			}
		}
	}
}

// until lets time pass until f is true.
func (s *site) until(limit time.Duration, f func() bool) {
	s.t.Helper()
	for end := time.Now().Add(limit); !f(); s.sleep(500 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("it does not come to pass")
		}
	}
}

// settled waits until an instance runs on the node, alone.
func (s *site) settled(id, on string, limit time.Duration) {
	s.t.Helper()
	s.until(limit, func() bool {
		i := s.instance(id)
		return i.State == cloud.Running && i.Node == on && len(s.copies(id)) > 0
	})
	s.expect(id, on)
}
