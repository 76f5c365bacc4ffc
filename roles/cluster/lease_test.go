package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"eucad/roles/peer"
	"eucad/roles/plan"
)

func TestLeaseArithmetic(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	for _, tt := range []struct {
		name string
		in   lease
		now  time.Time
		wait time.Duration
		here bool
	}{
		{"the head has just started, and may have granted before", lease{}, start, plan.MoveAfter, false},
		{"it started a while ago, and the node never asked", lease{}, at(plan.MoveAfter - 1), 1, false},
		{"it started long ago", lease{}, at(plan.MoveAfter), 0, false},
		{"granted just now", lease{granted: at(time.Hour)}, at(time.Hour), plan.MoveAfter, true},
		{"about to be missed", lease{granted: at(time.Hour)}, at(time.Hour + plan.LeaseTime - 1), plan.MoveAfter - plan.LeaseTime + 1, true},
		{"missed", lease{granted: at(time.Hour)}, at(time.Hour + plan.LeaseTime), plan.MoveAfter - plan.LeaseTime, false},
		{"not over", lease{granted: at(time.Hour)}, at(time.Hour + plan.MoveAfter - 1), 1, false},
		{"over", lease{granted: at(time.Hour)}, at(time.Hour + plan.MoveAfter), 0, false},
		{"long over", lease{granted: at(time.Hour)}, at(2 * time.Hour), 0, false},
	} {
		if wait, here := tt.in.wait(start, tt.now), tt.in.here(tt.now); wait != tt.wait || here != tt.here {
			t.Errorf("%s: wait %s, here %v; want %s, %v", tt.name, wait, here, tt.wait, tt.here)
		}
	}
}

type server struct {
	given []plan.VolumeLease
	err   error
}

func (s *server) Fence(_ context.Context, volume, holder string, epoch uint64) error {
	s.given = append(s.given, plan.VolumeLease{Volume: volume, Holder: holder, Epoch: epoch})
	return s.err
}

// A step of the life of one head and node n.
func TestLeases(t *testing.T) {
	volumes := []plan.VolumeLease{{Volume: "vol-1", Holder: "m", Epoch: 2}}
	on := plan.Fence{Node: "n", Number: 7, Volumes: volumes}
	lifted := plan.Fence{Node: "n", Number: 8, Lifted: true}
	const soon = time.Second
	for _, tt := range []struct {
		name  string
		steps func(*Leases)
		ask   plan.Fence
		wait  time.Duration
		err   string // part of
		given int
	}{
		{"the head has just started", func(*Leases) {}, on, plan.LeaseTime, "", 0},
		{"it has heard nothing since", func(*Leases) { time.Sleep(plan.LeaseTime) }, on, plan.MoveAfter - plan.LeaseTime, "", 0},
		{"it has heard nothing for long", func(*Leases) { time.Sleep(plan.MoveAfter) }, on, 0, "", 1},
		{"the node is there", func(l *Leases) { time.Sleep(time.Hour); l.Grant("n"); time.Sleep(soon) }, on, 0, "hears n", 0},
		{"the node is silent", func(l *Leases) { l.Grant("n"); time.Sleep(plan.LeaseTime) }, on, plan.MoveAfter - plan.LeaseTime, "", 0},
		{"its lease is over", func(l *Leases) { l.Grant("n"); time.Sleep(plan.MoveAfter) }, on, 0, "", 1},
		{"it asks again in vain", func(l *Leases) {
			l.Grant("n")
			time.Sleep(plan.LeaseTime)
			l.Fence(t.Context(), on)
			l.Grant("n")
			time.Sleep(plan.MoveAfter - plan.LeaseTime)
		}, on, 0, "", 1},
		{"lifted", func(l *Leases) { time.Sleep(time.Hour); l.Fence(t.Context(), on) }, lifted, 0, "", 1},
		{"an older word comes late", func(l *Leases) { time.Sleep(time.Hour); l.Fence(t.Context(), lifted) }, on, 0, "another word on n", 0},
		{"two words have one number", func(l *Leases) { time.Sleep(time.Hour); l.Fence(t.Context(), on) }, plan.Fence{Node: "n", Number: 7, Lifted: true}, 0, "another word on n", 1},
		{"only volumes", func(*Leases) {}, plan.Fence{Volumes: volumes}, 0, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{}
				l := NewLeases(s)
				tt.steps(l)
				wait, err := l.Fence(t.Context(), tt.ask)
				if wait != tt.wait || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("wait %s, %v; want %s, %q", wait, err, tt.wait, tt.err)
				}
				if len(s.given) != tt.given {
					t.Errorf("volumes were given to %v, want %d", s.given, tt.given)
				}
			})
		})
	}
}

// A node that is fenced off gets no lease until that is lifted.
func TestGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{err: errors.New("no answer")}
		l := NewLeases(s)
		if err := l.Grant("n"); err != nil {
			t.Errorf("grant: %v", err)
		}
		time.Sleep(time.Hour)
		_, err := l.Fence(t.Context(), plan.Fence{Node: "n", Number: 1, Volumes: []plan.VolumeLease{{Volume: "vol-1"}}})
		if peer.ErrorCode(err) != noVolumes {
			t.Errorf("with a volume server that does not answer: %v", err)
		}
		if err := l.Grant("n"); peer.ErrorCode(err) != isFenced {
			t.Errorf("grant to a node that is fenced off: %v", err)
		}
		if err := l.Grant("m"); err != nil {
			t.Errorf("grant to another one: %v", err)
		}
		if _, err := l.Fence(t.Context(), plan.Fence{Node: "n", Number: 2, Lifted: true}); err != nil {
			t.Fatal(err)
		}
		if err := l.Grant("n"); err != nil {
			t.Errorf("grant when that is lifted: %v", err)
		}
	})
}
