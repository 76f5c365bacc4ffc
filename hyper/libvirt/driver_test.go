package libvirt

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"eucad/hyper"
	"eucad/hyper/hypertest"
	"eucad/hyper/libvirt/libvirttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a driver on a private libvirtd; on the same one, and the same
// machines, each time.
func open(t testing.TB, dm *libvirttest.Daemon) *Driver {
	t.Helper()
	d, err := New(Options{
		Dir: dm.Dir, Socket: dm.Socket, LogDir: dm.LogDir,
		Log: slog.New(slog.NewTextHandler(logTo{t}, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// logTo passes the driver's log to the test's, where it is of use.
type logTo struct{ t testing.TB }

func (l logTo) Write(p []byte) (int, error) {
	l.t.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}

// machine returns a machine without a system: its BIOS finds nothing to boot.
func machine(dir string) hyper.Machine {
	id, uuid := hypertest.NewID()
	return hyper.Machine{
		ID: id, UUID: uuid, Power: hyper.On, Boot: 1, CPUs: 1, MemoryMiB: 64, Meta: []byte(`{"a":1}`),
		Disks: []hyper.Disk{{
			ID: "vol-" + id[2:], Path: filepath.Join(dir, "machines", id, "vol-"+id[2:]+".qcow2"),
			Format: "qcow2", SizeBytes: 1 << 30, Target: "vda",
		}},
	}
}

func TestConformance(t *testing.T) {
	dm := libvirttest.NewPrivate(t)
	guest := hypertest.NewGuest(t)
	d := open(t, dm)
	var taps atomic.Int32
	hypertest.Test(t, &hypertest.Rig{
		Driver: d,
		Reopen: func(t *testing.T) hyper.Driver {
			d.Close()
			d = open(t, dm)
			return d
		},
		Machine: func(t *testing.T) hyper.Machine {
			m := machine(dm.Dir)
			m.MemoryMiB = 96
			m.Kernel, m.Initrd, m.Cmdline = guest.Kernel, guest.Initrd, guest.Cmdline
			n := taps.Add(1)
			tap := fmt.Sprintf("tap%d", n)
			dm.Tap(t, tap)
			m.NICs = []hyper.NIC{{Tap: tap, MAC: fmt.Sprintf("02:00:00:00:00:%02x", n), MTU: 1400}}
			return m
		},
		Booted: func(t *testing.T, d hyper.Driver, id string, n int) {
			hypertest.AwaitConsole(t, d, id, hypertest.Ready, n)
		},
		Suicidal: func(m hyper.Machine, panics bool) hyper.Machine {
			if panics {
				m.Cmdline += " do=panic"
			} else {
				m.Cmdline += " do=poweroff"
			}
			return m
		},
		PowerOff: func(*testing.T, string) {},
		Panic:    func(*testing.T, string) {},
		Crash:    func(t *testing.T, id string) { dm.Crash(t, id) },
		Stop:     func(t *testing.T) { dm.Kill(t) },
		Start:    func(t *testing.T) { dm.Start(t) },
	})
}
