package sim

import (
	"testing"
	"time"

	"eucad/hyper"
	"eucad/hyper/hypertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(t *testing.T) *Driver {
		t.Helper()
		d, err := New(Options{Dir: dir, StartDelay: 5 * time.Millisecond, StopDelay: 5 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open(t)
	hypertest.Test(t, &hypertest.Rig{
		Driver: d,
		Reopen: func(t *testing.T) hyper.Driver {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = open(t)
			return d
		},
		Machine: func(*testing.T) hyper.Machine {
			id, uuid := hypertest.NewID()
			return hyper.Machine{
				ID: id, UUID: uuid, Power: hyper.On, Boot: 1, CPUs: 2, MemoryMiB: 512, Meta: []byte(`{"a":1}`),
				Disks: []hyper.Disk{{ID: "vol-" + id[2:], Path: "/nowhere/" + id, Format: "qcow2", SizeBytes: 1 << 30, Target: "vda"}},
				NICs:  []hyper.NIC{{Tap: "tap0", MAC: "02:00:00:00:00:01", MTU: 1500}},
			}
		},
		Booted:   func(*testing.T, hyper.Driver, string, int) {},
		Suicidal: func(m hyper.Machine, _ bool) hyper.Machine { return m },
		PowerOff: func(t *testing.T, id string) { d.ShutDown(id) },
		Panic:    func(t *testing.T, id string) { d.Crash(id) },
		Crash:    func(t *testing.T, id string) { d.Crash(id) },
	})
}
