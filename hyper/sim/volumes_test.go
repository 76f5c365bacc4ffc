package sim

import (
	"errors"
	"testing"

	"eucad/hyper"
	"eucad/hyper/hypertest"
)

// A host that lost its lease can't start the machine, and the machine that ran
// on it is over by the time Fence returns.
func TestFence(t *testing.T) {
	t.Parallel()
	v, ctx := NewVolumes(), t.Context()
	host := func(name string) *Driver {
		d, err := New(Options{Name: name, Volumes: v})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a, b := host("a"), host("b")
	id, uuid := hypertest.NewID()
	machine := func(boot, epoch uint64) hyper.Machine {
		return hyper.Machine{ID: id, UUID: uuid, Power: hyper.On, Boot: boot, CPUs: 1, MemoryMiB: 64,
			Disks: []hyper.Disk{{ID: "vol-1", Path: "/sim/vol-1", Format: "qcow2", SizeBytes: 1 << 30, Target: "vda", Epoch: epoch}}}
	}
	state := func(d *Driver) hyper.State {
		all, err := d.List(ctx)
		if err != nil || len(all) == 0 {
			return hyper.Absent
		}
		return all[0].State
	}
	if err := a.Apply(ctx, machine(1, 1)); err != nil {
		t.Fatal(err)
	}
	if got := v.Open(); len(got) != 1 || got["vol-1"] != "a" {
		t.Errorf("open: %v", got)
	}
	if err := b.Apply(ctx, machine(1, 1)); !errors.Is(err, ErrFenced) {
		t.Errorf("another host with the same epoch: %v", err)
	}
	for range 2 {
		if err := v.Fence(ctx, "vol-1", "b", 2); err != nil {
			t.Fatal(err)
		}
		if got := state(a); got != hyper.Crashed {
			t.Errorf("the machine of the old holder is %s", got)
		}
	}
	if got := v.Losses(); len(got) != 1 || got[0].Volume != "vol-1" || got[0].Host != "a" {
		t.Errorf("losses: %v", got)
	}
	if err := v.Fence(ctx, "vol-1", "a", 2); err == nil {
		t.Error("one epoch has two holders")
	}
	if err := v.Fence(ctx, "vol-1", "a", 1); err == nil {
		t.Error("an older epoch is given again")
	}
	if err := a.Apply(ctx, machine(2, 1)); !errors.Is(err, ErrFenced) {
		t.Errorf("the old holder starts again: %v", err)
	}
	if err := b.Apply(ctx, machine(2, 2)); err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(ctx, machine(3, 3)); !errors.Is(err, ErrFenced) || len(v.Clashes()) != 1 {
		t.Errorf("a volume that is open: %v; clashes: %q", err, v.Clashes())
	}
	v.SetDown(errors.New("no answer"))
	if err := v.Fence(ctx, "vol-1", "", 3); err == nil || state(b) != hyper.Running {
		t.Errorf("a server that is down fences: %v", err)
	}
	v.SetDown(nil)
	if err := v.Fence(ctx, "vol-1", "", 3); err != nil || state(b) != hyper.Crashed {
		t.Errorf("fenced to nobody: %v, %s", err, state(b))
	}
	if err := b.Apply(ctx, machine(3, 4)); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(ctx, machine(4, 5)); err != nil { // nobody has it open
		t.Error(err)
	}
}
