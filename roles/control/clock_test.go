package control

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// A clock on the wall that is set while time passes as ever.
type wallClock struct{ ahead atomic.Int64 }

func (c *wallClock) now() time.Time      { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *wallClock) set(d time.Duration) { c.ahead.Store(int64(d)) }

// Whatever the clock on the wall is set to, what waits gets its whole time, and
// no more than that.
func TestClockIsSet(t *testing.T) {
	for name, jump := range map[string]time.Duration{"ahead": 5 * time.Hour, "back": -5 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var clock wallClock
				db, err := store.Open(filepath.Join(dir, "db"), store.WithClock(clock.now))
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				ctx := t.Context()
				err = db.Write(ctx, func(tx store.Tx) error {
					return tx.PutInstance(ctx, cloud.Instance{ID: instance, AccountID: "a", State: cloud.Pending, Since: tx.Now(), Node: "n1", Boot: 1, CPUs: 1})
				})
				if err != nil {
					t.Fatal(err)
				}
				c := New(db, Options{})
				pass := func() (out cloud.Instance, ok bool) {
					t.Helper()
					if err := c.once(ctx); err != nil {
						t.Fatal(err)
					}
					err := db.Read(ctx, func(rx store.Rx) (err error) {
						out, ok, err = rx.FindInstance(ctx, instance)
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
					return out, ok
				}
				is := func(want cloud.InstanceState, when string) {
					t.Helper()
					if i, _ := pass(); i.State != want {
						t.Fatalf("%s it is %q, want %s", when, i.State, want)
					}
				}
				is(cloud.Pending, "at first")
				clock.set(jump)
				is(cloud.Pending, "when the clock was set")
				time.Sleep(launchTime - time.Second)
				is(cloud.Pending, "just before its time")
				c = New(db, Options{}) // a restart
				is(cloud.Pending, "after a restart")
				time.Sleep(launchTime)
				is(cloud.Pending, "just before its time, since the restart")
				time.Sleep(2 * time.Second)
				is(cloud.ShuttingDown, "after its time")

				report(t, c, plan.Status{State: "absent", Ended: true})
				is(cloud.Terminated, "at its end")
				clock.set(-jump)
				for end := time.Now().Add(listedTime); time.Now().Before(end); time.Sleep(purgeEvery) {
					is(cloud.Terminated, "while it is listed")
				}
				time.Sleep(2 * purgeEvery)
				if _, ok := pass(); ok {
					t.Error("it is listed for ever")
				}
			})
		})
	}
}

// Client tokens are kept for their time, though the clock was set ahead.
func TestNothingLooksOlder(t *testing.T) {
	start := time.Unix(1e9, 0)
	l := listed{start: start, wall: start}
	for name, tt := range map[string]struct{ wall, passed, want time.Duration }{
		"in time":   {time.Hour, time.Hour, time.Hour},
		"set ahead": {72 * time.Hour, time.Hour, time.Hour},
		"set back":  {-72 * time.Hour, time.Hour, -72 * time.Hour},
	} {
		if got := l.notAfter(start.Add(tt.wall), start.Add(tt.passed)).Sub(start); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// When a node was last heard of is noted, though the clock was set back.
func TestSeenIsNoted(t *testing.T) {
	now := time.Unix(1e9, 0)
	for age, want := range map[time.Duration]bool{0: false, seenStep: true, -time.Hour: true} {
		if got := old(now.Add(-age), now); got != want {
			t.Errorf("seen %v ago: to be noted %v, want %v", age, got, want)
		}
	}
}
