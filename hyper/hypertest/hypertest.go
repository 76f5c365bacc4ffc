// Package hypertest holds the one suite that every hyper.Driver must pass,
// and a small real guest to pass it with.
package hypertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"eucad/hyper"
)

// A Rig is a driver under test and the means to disturb its machines.
type Rig struct {
	// Driver is under test.
	Driver hyper.Driver
	// Reopen returns a new value of the driver with the state of the old
	// one, as after a restart of the process.
	Reopen func(t *testing.T) hyper.Driver
	// Machine returns a new machine, on and with Boot 1, whose guest obeys
	// a request to shut down once Booted has returned.
	Machine func(t *testing.T) hyper.Machine
	// Booted waits until the machine's guest is up for the nth time.
	Booted func(t *testing.T, d hyper.Driver, id string, n int)
	// Suicidal changes a machine so that its guest powers itself off, or
	// panics, when the rig's function of that name is called, or earlier.
	Suicidal func(m hyper.Machine, panics bool) hyper.Machine
	PowerOff func(t *testing.T, id string)
	Panic    func(t *testing.T, id string)
	// Crash kills the machine's emulator.
	Crash func(t *testing.T, id string)
	// Stop and Start take the hypervisor's daemon down and up again. They
	// are nil when there is none.
	Stop, Start func(t *testing.T)
}

// patience bounds each wait. Guests are emulated, on machines with other work.
const patience = 2 * time.Minute

// Test runs the suite. Each of its tests has machines of its own on one rig.
func Test(t *testing.T, r *Rig) {
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *Rig)
	}{
		{"apply twice", testApplyTwice},
		{"remove", testRemove},
		{"off", testOff},
		{"cut", testCut},
		{"reset", testReset},
		{"guest powers off", testGuestPowersOff},
		{"guest panics", testGuestPanics},
		{"emulator dies", testEmulatorDies},
		{"reopen", testReopen},
		{"ends while away", testEndsWhileAway},
		{"metadata", testMeta},
		{"cancelled", testCancelled},
		{"at once", testAtOnce},
		{"bad machines", testBad},
		{"host", testHost},
		{"daemon restarts", testDaemonRestarts}, // last: it disturbs the others
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, r) })
	}
}

// NewID returns the id and UUID of a machine, as EC2's are.
func NewID() (id, uuid string) {
	var b [16]byte
	rand.Read(b[:])
	h := fmt.Sprintf("%x", b)
	return "i-" + h[:17], "ec2" + h[3:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:]
}

// A watch collects what Events says.
type watch struct {
	mu   sync.Mutex
	seen []hyper.Status
	more chan struct{}
}

// watchEvents watches d until the test ends, and returns once it does.
func watchEvents(t *testing.T, d hyper.Driver) *watch {
	t.Helper()
	w := &watch{more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := d.Events(ctx, func(s hyper.Status) {
			w.mu.Lock()
			w.seen = append(w.seen, s)
			w.mu.Unlock()
			select {
			case w.more <- struct{}{}:
			default:
			}
		})
		if err != context.Canceled {
			t.Errorf("Events = %v, want %v", err, context.Canceled)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	w.await(t, "", "", 0)
	return w
}

// await waits for an event, from the nth on, and returns the number of the one after it.
func (w *watch) await(t *testing.T, id string, state hyper.State, from int) int {
	t.Helper()
	for end := time.After(patience); ; {
		w.mu.Lock()
		seen := w.seen
		w.mu.Unlock()
		for i := from; i < len(seen); i++ {
			if seen[i].ID == id && seen[i].State == state {
				return i + 1
			}
		}
		select {
		case <-w.more:
		case <-end:
			t.Fatalf("no event %q of machine %q after %d; seen: %+v", state, id, from, seen)
		}
	}
}

// apply applies m and fails the test if that fails.
func apply(t *testing.T, d hyper.Driver, m hyper.Machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := d.Apply(ctx, m); err != nil {
		t.Fatalf("Apply(%s, boot %d): %v", m.Power, m.Boot, err)
	}
}

// machine returns a new machine that is removed when the test ends.
func (r *Rig) machine(t *testing.T) hyper.Machine {
	t.Helper()
	m := r.Machine(t)
	t.Cleanup(func() {
		if err := r.Driver.Remove(context.Background(), m.ID); err != nil {
			t.Error(err)
		}
	})
	return m
}

// find returns what List says of a machine.
func find(t *testing.T, d hyper.Driver, id string) hyper.Status {
	t.Helper()
	all, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := hyper.Status{ID: id, State: hyper.Absent}
	for _, s := range all {
		if s.ID == id {
			if got.State != hyper.Absent {
				t.Fatalf("List has %s twice", id)
			}
			got = s
		}
	}
	return got
}

// want checks the state and boot of a machine, and returns all that List says.
func want(t *testing.T, d hyper.Driver, id string, state hyper.State, boot uint64) hyper.Status {
	t.Helper()
	got := find(t, d, id)
	if got.State != state || got.Boot != boot {
		t.Fatalf("%s is %s, boot %d; want %s, boot %d", id, got.State, got.Boot, state, boot)
	}
	return got
}

// AwaitConsole waits until the machine's console holds text at least n times.
func AwaitConsole(t *testing.T, d hyper.Driver, id, text string, n int) string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); ; {
		out, _, err := d.Console(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(out), text) >= n {
			return string(out)
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("console of %s: no %q in\n%s", id, text, out)
		}
	}
}
