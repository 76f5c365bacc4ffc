package control_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"eucad/roles/cluster"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// A node is cut off: its guest is stopped, started elsewhere, and removed when
// the node is back.
func TestLostNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		id := s.launch(1, "n1", cloud.PoolNetwork, nil)
		s.lose("n1")
		s.sleep(plan.StopAfter - leaseEvery - time.Second)
		s.expect(id, "n1")
		s.sleep(leaseEvery + 3*time.Second)
		s.expect(id, "") // by the node itself
		if i := s.instance(id); i.State != cloud.Running || !i.Impaired || i.Node != "n1" {
			t.Errorf("before it is moved it is %s on %s, impaired: %v", i.State, i.Node, i.Impaired)
		}
		s.settled(id, "n2", plan.MoveAfter)
		if i := s.instance(id); i.Boot != 2 || i.Impaired {
			t.Errorf("boot %d, impaired: %v", i.Boot, i.Impaired)
		}
		if got := s.history(id); !strings.Contains(got, "because its node n1 was not heard of, and is fenced off") {
			t.Errorf("history = %s", got)
		}
		s.sleep(time.Minute)
		s.heal("n1")
		s.until(time.Minute, func() bool { return !s.has("n1", id) })
		s.sleep(time.Minute)
		s.expect(id, "n2")

		// n1 may have it again, and n2 does as n1 did.
		s.lose("n2")
		s.settled(id, "n1", 2*plan.MoveAfter)
		s.heal("n2")
		s.until(time.Minute, func() bool { return !s.has("n2", id) })
		s.expect(id, "n1")
	})
}

// A node that does not stop its guest (it hung, say) loses the volume before
// the guest starts elsewhere, and can't start it when it is back.
func TestFencedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		s.hosts["n1"].unleased()
		id := s.launch(1, "n1", cloud.PoolNetwork, nil)
		s.lose("n1")
		s.sleep(plan.MoveAfter - leaseEvery - time.Second)
		s.expect(id, "n1")
		s.volumes.SetDown(errors.New("no answer"))
		s.sleep(time.Minute)
		s.expect(id, "n1") // not fenced, so nobody may start it
		if got := s.history(id); !strings.Contains(got, "until the node that it left is refused at its volumes: volume vol-1: no answer") {
			t.Errorf("history = %s", got)
		}
		s.restart(time.Second)
		s.heal("n1") // it is told that its copy is over
		s.until(time.Minute, func() bool { return !s.has("n1", id) })
		s.volumes.SetDown(nil)
		s.settled(id, "n2", time.Minute)
	})
}

func TestDisksOnTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		id := s.launch(1, "n1", cloud.PoolNode, nil)
		ended := s.launch(2, "n1", cloud.PoolNode, nil)
		s.lose("n1")
		s.change(ended, cloud.ShuttingDown)
		s.sleep(5 * time.Minute)
		s.expect(id, "n1")
		if i := s.instance(id); i.State != cloud.Running || i.Node != "n1" || !i.Impaired {
			t.Errorf("it is %s on %s, impaired: %v", i.State, i.Node, i.Impaired)
		}
		if got := s.history(id); !strings.Contains(got, "waiting for its node n1, which is not heard of and has its disks") {
			t.Errorf("history = %s", got)
		}
		if i := s.instance(ended); i.State != cloud.ShuttingDown {
			t.Errorf("what is to be terminated is %s before its node is back", i.State)
		}
		s.heal("n1")
		s.until(time.Minute, func() bool { return !s.instance(id).Impaired && s.instance(ended).State == cloud.Terminated })
		s.expect(id, "n1")
	})
}

func TestAutoRecoveryDisabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		id := s.launch(1, "n1", cloud.PoolNetwork, func(i *cloud.Instance) { i.NoAutoRecovery = true })
		s.lose("n1")
		s.sleep(5 * time.Minute)
		s.expect(id, "n1")
		if got := s.history(id); !strings.Contains(got, "its auto-recovery is disabled") {
			t.Errorf("history = %s", got)
		}
		s.heal("n1")
		s.until(time.Minute, func() bool { return !s.instance(id).Impaired })
		s.expect(id, "n1")
	})
}

// Whoever asks for an end gets it, once the node can do no harm.
func TestEndOnALostNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2")
		ended := s.launch(1, "n1", cloud.PoolNetwork, func(i *cloud.Instance) { i.NoAutoRecovery = true })
		halted := s.launch(2, "n1", cloud.PoolNetwork, nil)
		s.lose("n1")
		s.sleep(15 * time.Second)
		s.change(ended, cloud.ShuttingDown)
		s.change(halted, cloud.Stopping)
		s.until(plan.MoveAfter, func() bool {
			return s.instance(ended).State == cloud.Terminated && s.instance(halted).State == cloud.Stopped
		})
		s.expect(ended, "")
		s.expect(halted, "")
		s.heal("n1")
		s.until(time.Minute, func() bool { return !s.has("n1", ended) && !s.has("n1", halted) })
	})
}

// The node is back at some moment around the one at which it is given up.
func TestNodeIsBack(t *testing.T) {
	for _, early := range []time.Duration{10 * time.Second, 4 * time.Second, 3 * time.Second, 2 * time.Second, time.Second, 0, -time.Second, -3 * time.Second, -6 * time.Second} {
		t.Run(early.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, "n1", "n2")
				id := s.launch(1, "n1", cloud.PoolNetwork, nil)
				s.lose("n1")
				s.sleep(plan.MoveAfter - early)
				s.heal("n1")
				s.sleep(time.Minute)
				i := s.instance(id)
				s.settled(id, i.Node, time.Second)
				if early >= 10*time.Second && i.Node != "n1" {
					t.Errorf("it was moved to %s, though its node was back in time", i.Node)
				}
				if other := map[string]string{"n1": "n2", "n2": "n1"}[i.Node]; s.has(other, id) {
					t.Errorf("something of it is left on %s", other)
				}
			})
		})
	}
}

// The front end is restarted in the middle of each step.
func TestFrontEndRestarts(t *testing.T) {
	for _, at := range []time.Duration{5 * time.Second, 15 * time.Second, 25 * time.Second, 44 * time.Second, 47 * time.Second, 51 * time.Second, 55 * time.Second, 61 * time.Second} {
		for _, away := range []time.Duration{0, plan.MoveAfter + plan.LeaseTime} {
			t.Run(fmt.Sprint(at, " for ", away), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, "n1", "n2")
					for _, h := range s.hosts { // a start, too, is a step to be interrupted
						h.driver.SetDelays(10*time.Second, 0)
					}
					id := s.launch(1, "n1", cloud.PoolNetwork, nil)
					other := s.launch(2, "n2", cloud.PoolNetwork, nil)
					s.lose("n1")
					s.sleep(at)
					s.restart(away)
					s.settled(id, "n2", plan.MoveAfter+time.Minute)
					s.settled(other, "n2", time.Minute)
					if i := s.instance(other); i.Boot != 1 {
						t.Errorf("the instance of a node that was there was started %d times", i.Boot)
					}
					s.restart(0)
					s.heal("n1")
					s.restart(0)
					s.until(time.Minute, func() bool { return !s.has("n1", id) })
					s.expect(id, "n2")
				})
			})
		}
	}
}

// What is lost, for how long, and what then becomes of an instance of n1.
func TestFaults(t *testing.T) {
	minutes := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	for _, tt := range []struct {
		name    string
		pool    string
		fault   func(*site)
		away    time.Duration
		runs    string // where it then runs; "": nowhere
		on      string // where its row says it is
		boot    uint64
		history string
		mend    func(*site)
		after   string // where it runs when all is mended
	}{
		{"front end", cloud.PoolNetwork, func(s *site) { s.halt() }, minutes(10), "n1", "n1", 1, "", func(s *site) { s.start() }, "n1"},
		{"front end, disks on the node", cloud.PoolNode, func(s *site) { s.halt() }, minutes(10), "n1", "n1", 1, "", func(s *site) { s.start() }, "n1"},
		{"node, before its lease is over", cloud.PoolNetwork, func(s *site) { s.lose("n1") }, plan.StopAfter - leaseEvery - time.Second, "n1", "n1", 1, "", func(s *site) { s.heal("n1") }, "n1"},
		{"node, after its lease is over", cloud.PoolNetwork, func(s *site) { s.lose("n1") }, plan.StopAfter + 3*time.Second, "", "n1", 1, "", func(s *site) { s.heal("n1") }, "n1"},
		{"node, until it is fenced off", cloud.PoolNetwork, func(s *site) { s.lose("n1") }, minutes(2), "n2", "n2", 2, "because its node n1 was not heard of, and is fenced off", func(s *site) { s.heal("n1") }, "n2"},
		{"node, disks on it", cloud.PoolNode, func(s *site) { s.lose("n1") }, minutes(2), "n1", "n1", 1, "waiting for its node n1, which is not heard of and has its disks", func(s *site) { s.heal("n1") }, "n1"},
		{"node and front end", cloud.PoolNetwork, func(s *site) { s.lose("n1"); s.halt() }, minutes(10), "", "n1", 1, "", func(s *site) { s.start() }, "n2"},
		{"way from node to front end", cloud.PoolNetwork, func(s *site) { s.hosts["n1"].deaf.Store(true) }, minutes(10), "n1", "n1", 1, "the head of its zone hears n1, so its guests go on there", func(s *site) { s.heal("n1") }, "n1"},
		{"head, and all behind it", cloud.PoolNetwork, func(s *site) { s.head.Store(nil); s.lose("n1", "n2") }, minutes(10), "", "n1", 1,
			"It is not started elsewhere: the head of its zone does not answer, and nobody else can say that its guests have stopped",
			func(s *site) { s.head.Store(cluster.NewLeases(s.volumes)); s.heal("n1"); s.heal("n2") }, "n1"},
		{"head, disks on the node", cloud.PoolNode, func(s *site) { s.head.Store(nil); s.lose("n1", "n2") }, minutes(10), "n1", "n1", 1, "",
			func(s *site) { s.head.Store(cluster.NewLeases(s.volumes)); s.heal("n1"); s.heal("n2") }, "n1"},
		{"node and head, which forgets its leases", cloud.PoolNetwork, func(s *site) { s.lose("n1"); s.sleep(minutes(1) / 2); s.head.Store(cluster.NewLeases(s.volumes)) },
			plan.MoveAfter - time.Second, "", "n1", 1, "", func(*site) {}, "n2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, "n1", "n2")
				id := s.launch(1, "n1", tt.pool, nil)
				tt.fault(s)
				s.sleep(tt.away)
				s.expect(id, tt.runs)
				if i := s.instance(id); i.State != cloud.Running || i.Node != tt.on || i.Boot != tt.boot {
					t.Errorf("it is %s on %s with boot %d; want %s, %d", i.State, i.Node, i.Boot, tt.on, tt.boot)
				}
				if got := s.history(id); !strings.Contains(got, tt.history) {
					t.Errorf("history = %s, want %s", got, tt.history)
				}
				tt.mend(s)
				s.sleep(2 * time.Minute)
				s.settled(id, tt.after, time.Second)
				if other := map[string]string{"n1": "n2", "n2": "n1"}[tt.after]; !s.hosts[other].cut.Load() && s.has(other, id) {
					t.Errorf("something of it is left on %s", other)
				}
			})
		})
	}
}

// Two nodes are lost, and there is room for half of their instances.
func TestTwoNodesLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1", "n2", "n3")
		ids := []string{s.launch(1, "n1", cloud.PoolNetwork, nil), s.launch(2, "n1", cloud.PoolNetwork, nil),
			s.launch(3, "n2", cloud.PoolNetwork, nil), s.launch(4, "n2", cloud.PoolNetwork, nil)}
		s.lose("n1", "n2")
		s.sleep(3 * time.Minute)
		var there, waiting []string
		for _, id := range ids {
			if i := s.instance(id); i.Node == "n3" {
				s.settled(id, "n3", time.Second)
				there = append(there, id)
			} else {
				s.expect(id, "")
				waiting = append(waiting, id)
				if got := s.history(id); !strings.Contains(got, "waiting to start elsewhere, for its node "+i.Node+" is lost: We currently do not have sufficient") {
					t.Errorf("history of %s = %s", id, got)
				}
			}
		}
		if len(there) != 2 || len(waiting) != 2 {
			t.Fatalf("%d are on n3 and %d wait, want 2 and 2", len(there), len(waiting))
		}
		s.change(there[0], cloud.ShuttingDown) // which makes room
		s.until(time.Minute, func() bool { return s.instance(waiting[0]).Node == "n3" || s.instance(waiting[1]).Node == "n3" })
		s.heal("n1")
		s.heal("n2")
		s.sleep(time.Minute)
		for _, id := range append(waiting, there[1]) {
			s.settled(id, s.instance(id).Node, time.Second)
		}
	})
}

// Whatever is lost and comes back, and when, no guest runs twice, and in the
// end all run.
func TestStorm(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 0))
				s := newSite(t, "n1", "n2", "n3")
				if seed%2 == 1 {
					s.hosts["n1"].unleased()
				}
				for _, h := range s.hosts {
					h.driver.SetDelays(time.Duration(r.IntN(8))*time.Second, 0)
				}
				ids := []string{s.launch(1, "n1", cloud.PoolNetwork, nil), s.launch(2, "n2", cloud.PoolNetwork, nil), s.launch(3, "n3", cloud.PoolNetwork, nil)}
				for range 30 {
					name := fmt.Sprintf("n%d", 1+r.IntN(3))
					switch r.IntN(8) {
					case 0, 1:
						s.lose(name)
					case 2, 3:
						s.heal(name)
					case 4:
						s.restart(time.Duration(r.IntN(60)) * time.Second)
					case 5:
						s.volumes.SetDown(map[int]error{0: errors.New("no answer")}[r.IntN(2)])
					case 6:
						s.hosts[name].deaf.Store(true)
					case 7:
						s.head.Store(nil)
						s.sleep(time.Duration(r.IntN(2)*r.IntN(90)) * time.Second)
						s.head.Store(cluster.NewLeases(s.volumes))
					}
					s.sleep(time.Duration(r.IntN(50)) * time.Second)
				}
				s.volumes.SetDown(nil)
				for name := range s.hosts {
					s.heal(name)
				}
				s.sleep(3 * time.Minute)
				for _, id := range ids {
					if i := s.instance(id); i.State == cloud.Stopped { // given up after launchTime
						continue
					}
					s.settled(id, s.instance(id).Node, time.Second)
					for name := range s.hosts {
						if name != s.instance(id).Node && s.has(name, id) {
							t.Errorf("something of %s is left on %s", id, name)
						}
					}
				}
				s.write(func(ctx context.Context, tx store.Tx) error {
					for name := range s.hosts {
						if left, err := tx.StraysOnNode(ctx, name); err != nil || len(left) > 0 {
							t.Errorf("strays on %s: %v, %v", name, left, err)
						}
					}
					return nil
				})
			})
		})
	}
}
