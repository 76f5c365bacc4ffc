package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"eucad/hyper"
	"eucad/hyper/sim"
	"eucad/roles/plan"
)

// told hands the agent a whole plan of one guest.
func (d *desk) told(rev uint64, m plan.Machine) {
	d.t.Helper()
	if err := d.Take(plan.Message{Epoch: 1, Batch: plan.Batch{Rev: rev, Full: true, Machines: []plan.Machine{m}}}); err != nil {
		d.t.Fatal(err)
	}
}

// last waits until the agent has nothing to do, and returns the last report.
func (d *desk) last() (s plan.Status) {
	synctest.Wait()
	for len(d.reports) > 0 {
		s = <-d.reports
	}
	return s
}

// An agent may learn of a machine only after it has looked at what the host
// has: it has no kept plan, or one from before the machine. It must not take
// the machine for absent then: the guest may run, or be over.
func TestPlanAfterMachines(t *testing.T) {
	for _, tt := range []struct {
		name  string
		down  func(d *sim.Driver) // while the agent is away
		up    func(d *sim.Driver) // when it is back, before the plan comes
		power hyper.Power
		want  hyper.State
	}{
		{name: "the guest runs", power: hyper.On, want: hyper.Running},
		{name: "it ended while the agent was away", down: func(d *sim.Driver) { d.ShutDown(one) }, power: hyper.On, want: hyper.ShutDown},
		{name: "it ends before the plan comes", up: func(d *sim.Driver) { d.Crash(one) }, power: hyper.On, want: hyper.Crashed},
		{name: "it is to be cut", power: hyper.Cut, want: hyper.Stopped},
		{name: "it is to shut down", power: hyper.Off, want: hyper.ShutDown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				d.keep = "" // as on a host that plays all roles
				driver := d.driver.(*sim.Driver)
				stop := d.start()
				d.told(1, guest(one, hyper.On))
				if s := d.last(); s.State != hyper.Running {
					t.Fatalf("started: %+v", s)
				}
				stop()
				if tt.down != nil {
					tt.down(driver)
				}
				stop = d.start()
				defer func() { stop() }()
				synctest.Wait() // it has looked
				if tt.up != nil {
					tt.up(driver)
					synctest.Wait()
				}
				d.told(2, guest(one, tt.power))
				if s := d.last(); s.State != tt.want || s.Boot != 1 {
					t.Errorf("reports %s boot %d, want %s boot 1", s.State, s.Boot, tt.want)
				}
				is, err := d.driver.List(t.Context())
				if err != nil || len(is) != 1 || is[0].State != tt.want {
					t.Errorf("the host has %+v, %v, want it %s", is, err, tt.want)
				}
			})
		})
	}
}

// A kept plan may be from before a reset of the guest, which is over since.
func TestOlderKeptBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		stop := d.start()
		d.told(1, guest(one, hyper.On))
		d.last()
		stop()
		reset := guest(one, hyper.On)
		reset.Boot = 2
		if err := d.driver.Apply(t.Context(), reset.Machine); err != nil {
			t.Fatal(err)
		}
		d.driver.(*sim.Driver).ShutDown(one)
		stop = d.start()
		defer func() { stop() }()
		synctest.Wait()
		d.told(2, reset)
		if s := d.last(); s.State != hyper.ShutDown || s.Boot != 2 {
			t.Errorf("reports %s boot %d, want shutdown boot 2", s.State, s.Boot)
		}
	})
}

// A slowList is a driver whose answer to List is on its way when something happens.
type slowList struct {
	*sim.Driver
	after func() // called once when the machines were listed
}

func (s *slowList) List(ctx context.Context) ([]hyper.Status, error) {
	all, err := s.Driver.List(ctx)
	if f := s.after; f != nil {
		s.after = nil
		f()
	}
	return all, err
}

// What an event said while the machines were listed is newer than the list.
func TestEventDuringList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		driver := d.driver.(*sim.Driver)
		slow := &slowList{Driver: driver}
		d.driver = slow
		stop := d.start()
		defer func() { stop() }()
		d.told(1, guest(one, hyper.On))
		d.last()
		slow.after = func() {
			driver.ShutDown(one)
			time.Sleep(time.Second) // the event comes meanwhile
		}
		if err := d.learn(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := d.last(); s.State != hyper.ShutDown {
			t.Errorf("reports %s, want shutdown", s.State)
		}
	})
}

// A hasty host has its guest end as soon as it runs, and notices before it has
// answered that it started it.
type hasty struct {
	*sim.Driver
}

func (h *hasty) Apply(ctx context.Context, m hyper.Machine) error {
	err := h.Driver.Apply(ctx, m)
	if m.Boot == 2 {
		h.ShutDown(m.ID)
		time.Sleep(time.Second) // the event comes meanwhile
	}
	return err
}

// A guest that was taken from this host may come back to it: that its earlier
// copy is ended says nothing of the new one.
func TestBackAndOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.driver = &hasty{d.driver.(*sim.Driver)}
		stop := d.start()
		defer func() { stop() }()
		d.told(1, guest(one, hyper.On))
		d.last()
		ended := guest(one, hyper.Cut)
		ended.Ended = true
		d.told(2, ended)
		if s := d.last(); !s.Ended {
			t.Fatalf("ended: %+v", s)
		}
		back := guest(one, hyper.On)
		back.Boot = 2
		d.told(3, back)
		time.Sleep(2 * time.Second)
		if s := d.last(); s.State != hyper.ShutDown || s.Boot != 2 || s.Ended {
			t.Errorf("reports %+v, want shutdown boot 2", s)
		}
	})
}
