package node

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"eucad/hyper"
	"eucad/hyper/sim"
	"eucad/net/fabric"
	netsim "eucad/net/sim"
	"eucad/roles/plan"
)

const (
	one = "i-00000000000000001"
	two = "i-00000000000000002"
)

// A desk is an agent on simulated machines, whose host outlives it.
type desk struct {
	t       *testing.T
	driver  hyper.Driver
	network *netsim.Network // nil: none
	keep    string
	reports chan plan.Status
	*Agent
}

func newDesk(t *testing.T) *desk {
	driver, err := sim.New(sim.Options{Host: hyper.Host{CPUs: 8, MemoryMiB: 8192, DiskBytes: 1 << 40}})
	if err != nil {
		t.Fatal(err)
	}
	return &desk{t: t, driver: driver, keep: filepath.Join(t.TempDir(), "plan.json"), reports: make(chan plan.Status, 1000)}
}

// start starts an agent, as after a start of eucad, and returns how to end it.
func (d *desk) start() (stop func()) {
	for len(d.reports) > 0 { // of the agent before
		<-d.reports
	}
	opt := Options{Name: "n1", Driver: d.driver, Dir: "/sim", Keep: d.keep,
		Image: func(_ context.Context, hash string) (string, error) { return "/sim/" + hash, nil },
		Report: func(_ context.Context, all []plan.Status) error {
			for _, s := range all {
				d.reports <- s
			}
			return nil
		}}
	if d.network != nil {
		opt.Network = d.network
	}
	d.Agent = New(opt)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	}
}

// await waits for such a report of each of the machines, in any order.
func (d *desk) await(is func(plan.Status) bool, ids ...string) {
	d.t.Helper()
	left := map[string]bool{}
	for _, id := range ids {
		left[id] = true
	}
	for limit := time.After(time.Minute); len(left) > 0; {
		select {
		case s := <-d.reports:
			if is(s) {
				delete(left, s.ID)
			}
		case <-limit:
			d.t.Fatalf("no such report of %v", left)
		}
	}
}

func guest(id string, power hyper.Power) plan.Machine {
	return plan.Machine{Machine: hyper.Machine{ID: id, UUID: "ec200000-0000-4000-8000-0000000000" + id[len(id)-2:], Power: power, Boot: 1, CPUs: 1, MemoryMiB: 64}}
}

func running(s plan.Status) bool { return s.State == hyper.Running }

func TestKeptPlan(t *testing.T) {
	d := newDesk(t)
	stop := d.start()
	if err := d.Take(plan.Message{Epoch: 1, Batch: plan.Batch{Rev: 10, Full: true, Machines: []plan.Machine{guest(one, hyper.On), guest(two, hyper.On)}}}); err != nil {
		t.Fatal(err)
	}
	d.await(running, one, two)
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		a := New(Options{Name: "n1"})
		if err := a.restore(d.keep); err == nil && len(a.machines) == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the plan is not kept")
		}
	}
	stop()

	// The host went down: with no front end in reach its guests start again.
	for _, id := range []string{one, two} {
		if err := d.driver.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	stop = d.start()
	defer func() { stop() }()
	d.await(running, one, two)

	for _, tt := range []struct {
		name string
		m    plan.Message
		want error
	}{
		{"older", plan.Message{Epoch: 1, Batch: plan.Batch{Rev: 9}}, ErrOlder},
		{"of an older store", plan.Message{Epoch: 0, Batch: plan.Batch{Rev: 99, Full: true}}, ErrOlder},
		{"part of a newer store", plan.Message{Epoch: 2, Batch: plan.Batch{Rev: 1}}, plan.ErrBase},
		{"the same again", plan.Message{Epoch: 1, Batch: plan.Batch{Rev: 10}}, nil},
	} {
		if err := d.Take(tt.m); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}

	// What a whole plan does not know is left alone, and can be named.
	if err := d.Take(plan.Message{Epoch: 2, Batch: plan.Batch{Rev: 1, Full: true, Machines: []plan.Machine{guest(two, hyper.On)}}}); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Orphans(t.Context()); err != nil || !slices.Equal(got, []string{one}) {
		t.Errorf("orphans = %v, %v", got, err)
	}
	ended := guest(two, hyper.Cut)
	ended.Ended = true
	if err := d.Take(plan.Message{Epoch: 2, Batch: plan.Batch{Rev: 2, Machines: []plan.Machine{ended}}}); err != nil {
		t.Fatal(err)
	}
	d.await(func(s plan.Status) bool { return s.Ended }, two)
	left, err := d.driver.List(t.Context())
	if err != nil || len(left) != 1 || left[0].ID != one || left[0].State != hyper.Running {
		t.Errorf("left = %+v, %v", left, err)
	}
}

// A plan that could not be kept is kept when that is mended, though it changed
// no more.
func TestPlanIsKeptLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keep")
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.keep = filepath.Join(dir, "plan.json") // which is not there: the file system is broken
		defer d.start()()
		if err := d.Take(plan.Message{Epoch: 1, Batch: plan.Batch{Rev: 10, Full: true, Machines: []plan.Machine{guest(one, hyper.On)}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * keepAgain)
		if a := New(Options{Name: "n1"}); a.restore(d.keep) != nil || len(a.machines) != 1 {
			t.Error("the plan is not kept")
		}
	})
}

// A head has routers and no machines.
func TestHeadHasNoMachines(t *testing.T) {
	network := netsim.New()
	a := New(Options{Name: "h", Network: network})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	hosts := &plan.Hosts{Rev: 1, Hosts: map[string]plan.Host{"h": {Zone: "z"}}, Zones: map[string]plan.Zone{"z": {Head: "h", Regime: plan.Edge}}}
	if err := a.Take(plan.Message{Epoch: 1, Batch: plan.Batch{Rev: 1, Full: true, Hosts: &plan.HostsUpdate{Whole: hosts}}}); err != nil {
		t.Fatal(err)
	}
	if got := a.Hosts(); got.Zones["z"].Head != "h" {
		t.Errorf("hosts = %+v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var _ fabric.Network = network
}

// The front end's plan may come before the kept one is read.
func TestKeptPlanIsLate(t *testing.T) {
	d := newDesk(t)
	old := kept{Epoch: 1, Plan: plan.Batch{Rev: 5, Full: true, Machines: []plan.Machine{guest(one, hyper.On)}}}
	b, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.keep, b, 0o600); err != nil {
		t.Fatal(err)
	}
	a := New(Options{Name: "n1", Keep: d.keep})
	if err := a.Take(plan.Message{Epoch: 1, Batch: plan.Batch{Rev: 9, Full: true, Machines: []plan.Machine{guest(two, hyper.On)}}}); err != nil {
		t.Fatal(err)
	}
	if err := a.restore(d.keep); err != nil || a.machines[two] == nil || a.machines[one] != nil {
		t.Errorf("restore = %v, and the plan has %d machines", err, len(a.machines))
	}
}
