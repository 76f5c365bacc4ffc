package hypertest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"eucad/hyper"
)

func testApplyTwice(t *testing.T, r *Rig) {
	w := watchEvents(t, r.Driver)
	m := r.machine(t)
	apply(t, r.Driver, m)
	w.await(t, m.ID, hyper.Running, 0)
	first := want(t, r.Driver, m.ID, hyper.Running, 1)
	apply(t, r.Driver, m)
	if again := want(t, r.Driver, m.ID, hyper.Running, 1); !again.Since.Equal(first.Since) {
		t.Errorf("running since %v, then since %v", first.Since, again.Since)
	}
	if time.Since(first.Since).Abs() > patience {
		t.Errorf("running since %v", first.Since)
	}
	r.Booted(t, r.Driver, m.ID, 1)
	out, when, err := r.Driver.Console(t.Context(), m.ID)
	if err != nil || len(out) == 0 || time.Since(when).Abs() > patience {
		t.Errorf("Console = %q, %v, %v", out, when, err)
	}
}

func testRemove(t *testing.T, r *Rig) {
	m := r.machine(t)
	if err := r.Driver.Remove(t.Context(), m.ID); err != nil {
		t.Errorf("Remove of what is not there: %v", err)
	}
	for _, power := range []hyper.Power{hyper.On, hyper.Off, hyper.Cut} {
		m.Power = power
		apply(t, r.Driver, m)
		if err := r.Driver.Remove(t.Context(), m.ID); err != nil {
			t.Fatalf("Remove after %s: %v", power, err)
		}
		want(t, r.Driver, m.ID, hyper.Absent, 0)
		for _, d := range m.Disks {
			if _, err := os.Stat(d.Path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("disk %s is still there: %v", d.Path, err)
			}
		}
	}
	if out, _, err := r.Driver.Console(t.Context(), m.ID); err != nil || len(out) != 0 {
		t.Errorf("Console of a removed machine = %q, %v", out, err)
	}
	// Its id may be used again, as by a plan that was restored.
	m.Power = hyper.On
	apply(t, r.Driver, m)
	want(t, r.Driver, m.ID, hyper.Running, 1)
}

func testOff(t *testing.T, r *Rig) {
	w := watchEvents(t, r.Driver)
	m := r.machine(t)
	apply(t, r.Driver, m)
	r.Booted(t, r.Driver, m.ID, 1)
	m.Power = hyper.Off
	start := time.Now()
	apply(t, r.Driver, m)
	apply(t, r.Driver, m)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Off twice took %v", took)
	}
	n := w.await(t, m.ID, hyper.ShutDown, 0)
	apply(t, r.Driver, m)
	want(t, r.Driver, m.ID, hyper.ShutDown, 1)

	m.Power = hyper.On
	apply(t, r.Driver, m) // the boot that has ended doesn't begin again
	want(t, r.Driver, m.ID, hyper.ShutDown, 1)
	m.Boot = 2
	apply(t, r.Driver, m)
	w.await(t, m.ID, hyper.Running, n)
	want(t, r.Driver, m.ID, hyper.Running, 2)
}

func testCut(t *testing.T, r *Rig) {
	w := watchEvents(t, r.Driver)
	m := r.machine(t)
	apply(t, r.Driver, m)
	m.Power = hyper.Cut
	apply(t, r.Driver, m)
	want(t, r.Driver, m.ID, hyper.Stopped, 1)
	apply(t, r.Driver, m)
	n := w.await(t, m.ID, hyper.Stopped, 0)
	m.Power = hyper.On
	apply(t, r.Driver, m) // it did not end itself, so it may run again
	w.await(t, m.ID, hyper.Running, n)
	want(t, r.Driver, m.ID, hyper.Running, 1)
	m.Power = hyper.Cut
	apply(t, r.Driver, m)
	want(t, r.Driver, m.ID, hyper.Stopped, 1)
}

func testReset(t *testing.T, r *Rig) {
	m := r.machine(t)
	apply(t, r.Driver, m)
	r.Booted(t, r.Driver, m.ID, 1)
	m.Boot = 5
	apply(t, r.Driver, m)
	first := want(t, r.Driver, m.ID, hyper.Running, 5)
	r.Booted(t, r.Driver, m.ID, 2)
	apply(t, r.Driver, m)
	m.Boot = 4 // of an old plan
	apply(t, r.Driver, m)
	if again := want(t, r.Driver, m.ID, hyper.Running, 5); !again.Since.Equal(first.Since) {
		t.Errorf("reset at %v, and again at %v", first.Since, again.Since)
	}
}

func testGuestPowersOff(t *testing.T, r *Rig) {
	w := watchEvents(t, r.Driver)
	m := r.Suicidal(r.machine(t), false)
	apply(t, r.Driver, m)
	r.PowerOff(t, m.ID)
	w.await(t, m.ID, hyper.ShutDown, 0)
	want(t, r.Driver, m.ID, hyper.ShutDown, 1)
	apply(t, r.Driver, m)
	want(t, r.Driver, m.ID, hyper.ShutDown, 1)
	if out, _, err := r.Driver.Console(t.Context(), m.ID); err != nil || len(out) == 0 {
		t.Errorf("Console of a machine that has stopped = %q, %v", out, err)
	}
}

func testGuestPanics(t *testing.T, r *Rig) {
	w := watchEvents(t, r.Driver)
	m := r.Suicidal(r.machine(t), true)
	apply(t, r.Driver, m)
	r.Panic(t, m.ID)
	w.await(t, m.ID, hyper.Crashed, 0)
	want(t, r.Driver, m.ID, hyper.Crashed, 1)
}

func testEmulatorDies(t *testing.T, r *Rig) {
	w := watchEvents(t, r.Driver)
	m := r.machine(t)
	apply(t, r.Driver, m)
	r.Crash(t, m.ID)
	n := w.await(t, m.ID, hyper.Crashed, 0)
	apply(t, r.Driver, m)
	want(t, r.Driver, m.ID, hyper.Crashed, 1)
	m.Boot++
	apply(t, r.Driver, m)
	w.await(t, m.ID, hyper.Running, n)
	want(t, r.Driver, m.ID, hyper.Running, 2)
}

func testReopen(t *testing.T, r *Rig) {
	m := r.machine(t)
	apply(t, r.Driver, m)
	first := want(t, r.Driver, m.ID, hyper.Running, 1)
	r.Driver = r.Reopen(t)
	apply(t, r.Driver, m)
	again := want(t, r.Driver, m.ID, hyper.Running, 1)
	if !again.Since.Equal(first.Since) || string(again.Meta) != string(first.Meta) {
		t.Errorf("was %+v, and after a restart %+v", first, again)
	}
	w := watchEvents(t, r.Driver)
	r.Crash(t, m.ID)
	w.await(t, m.ID, hyper.Crashed, 0)
}

func testEndsWhileAway(t *testing.T, r *Rig) {
	off, dead := r.Suicidal(r.machine(t), false), r.machine(t)
	apply(t, r.Driver, off)
	apply(t, r.Driver, dead)
	r.PowerOff(t, off.ID)
	r.Crash(t, dead.ID)
	r.Driver = r.Reopen(t)
	for end := time.Now().Add(patience); find(t, r.Driver, off.ID).State == hyper.Running; {
		if time.Now().After(end) {
			t.Fatalf("%s never powered itself off", off.ID)
		}
		time.Sleep(20 * time.Millisecond)
	}
	want(t, r.Driver, off.ID, hyper.ShutDown, 1)
	want(t, r.Driver, dead.ID, hyper.Crashed, 1)
	apply(t, r.Driver, off)
	apply(t, r.Driver, dead)
	want(t, r.Driver, off.ID, hyper.ShutDown, 1)
	want(t, r.Driver, dead.ID, hyper.Crashed, 1)
}

func testMeta(t *testing.T, r *Rig) {
	m := r.machine(t)
	for _, meta := range []string{`{"a":"<&>\"'"}`, `{"a":2}`, ``} {
		m.Meta = []byte(meta)
		apply(t, r.Driver, m)
		if got := want(t, r.Driver, m.ID, hyper.Running, 1).Meta; string(got) != meta {
			t.Errorf("Meta = %q, want %q", got, meta)
		}
		r.Driver = r.Reopen(t)
		if got := want(t, r.Driver, m.ID, hyper.Running, 1).Meta; string(got) != meta {
			t.Errorf("after a restart Meta = %q, want %q", got, meta)
		}
	}
}

func testCancelled(t *testing.T, r *Rig) {
	m := r.machine(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Driver.Apply(ctx, m); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply = %v, want %v", err, context.Canceled)
	}
	if _, err := r.Driver.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("List = %v, want %v", err, context.Canceled)
	}
	if err := r.Driver.Remove(ctx, m.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("Remove = %v, want %v", err, context.Canceled)
	}
	// Interrupted anywhere, it is finished by the next Apply.
	for _, after := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_ = r.Driver.Apply(ctx, m)
		cancel()
		apply(t, r.Driver, m)
		want(t, r.Driver, m.ID, hyper.Running, 1)
		if err := r.Driver.Remove(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func testAtOnce(t *testing.T, r *Rig) {
	m := r.machine(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := r.Driver.Apply(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := r.Driver.List(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want(t, r.Driver, m.ID, hyper.Running, 1)
}

func testBad(t *testing.T, r *Rig) {
	for name, spoil := range map[string]func(*hyper.Machine){
		"id":     func(m *hyper.Machine) { m.ID = "../i-0123456789abcdef0" },
		"power":  func(m *hyper.Machine) { m.Power = "maybe" },
		"cpus":   func(m *hyper.Machine) { m.CPUs = 0 },
		"memory": func(m *hyper.Machine) { m.MemoryMiB = -1 },
		"uuid":   func(m *hyper.Machine) { m.UUID = "00000000-0000-0000-0000-000000000000" },
		"format": func(m *hyper.Machine) {
			m.Disks = []hyper.Disk{{ID: "vol-1", Path: "/x", Format: "auto", Target: "vda"}}
		},
		"path": func(m *hyper.Machine) { m.Disks = []hyper.Disk{{ID: "vol-1", Path: "x", Format: "raw", Target: "vda"}} },
	} {
		m := r.Machine(t)
		spoil(&m)
		if err := r.Driver.Apply(t.Context(), m); err == nil {
			t.Errorf("bad %s: no error", name)
		}
		if got := find(t, r.Driver, m.ID); got.State != hyper.Absent {
			t.Errorf("bad %s: the machine is %s", name, got.State)
		}
	}
	if err := r.Driver.Remove(t.Context(), "*"); err == nil {
		t.Error("Remove of a malformed id: no error")
	}
}

func testHost(t *testing.T, r *Rig) {
	h, err := r.Driver.Host(t.Context())
	if err != nil || h.CPUs < 1 || h.MemoryMiB < 64 || h.DiskBytes < 1 || h.Arch == "" || h.Kind == "" {
		t.Errorf("Host = %+v, %v", h, err)
	}
}

func testDaemonRestarts(t *testing.T, r *Rig) {
	if r.Stop == nil {
		t.Skip("this hypervisor has no daemon")
	}
	w := watchEvents(t, r.Driver)
	m, dead, off := r.machine(t), r.machine(t), r.Suicidal(r.machine(t), false)
	apply(t, r.Driver, m)
	apply(t, r.Driver, dead)
	before := want(t, r.Driver, m.ID, hyper.Running, 1)
	w.mu.Lock()
	n := len(w.seen)
	w.mu.Unlock()

	r.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := r.Driver.Apply(ctx, off); err == nil {
		t.Error("Apply without the daemon: no error")
	}
	r.Crash(t, dead.ID)
	r.Start(t)

	w.await(t, "", "", n) // List should be read
	after := want(t, r.Driver, m.ID, hyper.Running, 1)
	if !after.Since.Equal(before.Since) {
		t.Errorf("running since %v, after the daemon's restart since %v", before.Since, after.Since)
	}
	// A daemon that starts looks after one machine after the other.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); find(t, r.Driver, dead.ID).State == hyper.Running && time.Now().Before(end); {
		<-tick.C
	}
	want(t, r.Driver, dead.ID, hyper.Crashed, 1)
	apply(t, r.Driver, off)
	r.PowerOff(t, off.ID)
	w.await(t, off.ID, hyper.ShutDown, n) // events come again
	r.Crash(t, m.ID)
	w.await(t, m.ID, hyper.Crashed, n)
}
