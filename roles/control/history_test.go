package control

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"eucad/hyper"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

const instance = "i-00000000000000001"

// newControl returns a Control over a store with a pending instance on node n1.
func newControl(t *testing.T) *Control {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Write(t.Context(), func(tx store.Tx) error {
		return errors.Join(
			tx.PutNode(t.Context(), cloud.Node{Name: "n1", CPUs: 8, Seen: tx.Now()}),
			tx.PutInstance(t.Context(), cloud.Instance{ID: instance, AccountID: "a", State: cloud.Pending, Since: tx.Now(), Node: "n1", Boot: 1, CPUs: 1}))
	})
	if err != nil {
		t.Fatal(err)
	}
	return New(db, Options{})
}

func report(t *testing.T, c *Control, s plan.Status) {
	t.Helper()
	s.ID = instance
	if err := c.Report(t.Context(), []plan.Status{s}); err != nil {
		t.Fatal(err)
	}
}

// history returns the kinds and texts of the instance's events.
func history(t *testing.T, c *Control) string {
	t.Helper()
	var out []string
	err := c.db.Read(t.Context(), func(rx store.Rx) error {
		all, err := rx.History(t.Context(), instance)
		for _, e := range all {
			out = append(out, strings.TrimSpace(string(e.Kind)+" "+e.Text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, ", ")
}

func TestHistoryOfALaunch(t *testing.T) {
	c := newControl(t)
	c.markSent(map[string]uint64{instance: 1}, time.Now())
	if err := c.noteWaiting(t.Context()); err != nil { // too early
		t.Fatal(err)
	}
	if got := history(t, c); got != "" {
		t.Errorf("history = %s, want nothing yet", got)
	}
	report(t, c, plan.Status{State: hyper.Running, Boot: 1})
	for range 2 { // reports repeat
		report(t, c, plan.Status{State: hyper.Running, Boot: 1, Phases: []cloud.Phase{{Name: "image", Took: time.Second}}})
	}
	report(t, c, plan.Status{State: hyper.Crashed, Boot: 1})
	if got, want := history(t, c), "plan, running, node, stopped Server.InternalError: The guest crashed"; got != want {
		t.Errorf("history = %s\nwant      %s", got, want)
	}
	if len(c.sent) != 0 {
		t.Errorf("still remembers %v", c.sent)
	}
}

func TestHistoryOfAFailedLaunch(t *testing.T) {
	c := newControl(t)
	c.markSent(map[string]uint64{instance: 1}, time.Now().Add(-time.Minute))
	if err := c.noteWaiting(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		report(t, c, plan.Status{State: hyper.Absent, Err: "no libvirtd"})
	}
	report(t, c, plan.Status{State: hyper.Absent, Err: syscall.ENOSPC.Error(), Final: true})
	report(t, c, plan.Status{State: hyper.Absent, Ended: true})
	want := "plan, waiting no libvirtd, ending Server.InternalError: no space left on device, terminated Server.InternalError: no space left on device"
	if got := history(t, c); got != want {
		t.Errorf("history = %s\nwant      %s", got, want)
	}
}

func TestHeard(t *testing.T) {
	c := newControl(t)
	places := func() bool {
		err := c.db.Write(t.Context(), func(tx store.Tx) error {
			f, err := tx.Fleet(t.Context())
			if err == nil {
				_, err = f.Place(cloud.DefaultPolicy, cloud.Need{})
			}
			return err
		})
		return err == nil
	}
	for _, heard := range []bool{true, false, false, true} {
		if err := c.Heard(t.Context(), "n1", heard); err != nil {
			t.Fatal(err)
		}
		if got := places(); got != heard {
			t.Errorf("heard of: %v, placed on: %v", heard, got)
		}
	}
	if err := c.Heard(t.Context(), "n2", true); err == nil {
		t.Error("heard of a node that there is not")
	}
}
