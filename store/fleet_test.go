package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"eucad/store/cloud"
)

// Whatever is written and rolled back: what a fleet holds is what a fresh
// connection would read.
func TestFleetFollows(t *testing.T) {
	db, ctx := open(t), t.Context()
	boom := errors.New("boom")
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 8).Draw(t, "steps")
		fails := rapid.IntRange(0, 2).Draw(t, "fails") == 0
		err := db.Write(ctx, func(tx Tx) error {
			for _, step := range steps {
				if err := step(ctx, tx); err != nil {
					return err
				}
			}
			if fails {
				return boom
			}
			return nil
		})
		if err == nil || errors.Is(err, boom) {
			err = db.Write(ctx, func(tx Tx) error { return compareFleet(ctx, tx) })
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// drawStep returns something that changes nodes or their use, or that looks at them.
func drawStep(t *rapid.T) func(context.Context, Tx) error {
	some := func(prefix string) string { return fmt.Sprint(prefix, rapid.IntRange(1, 4).Draw(t, prefix)) }
	n := cloud.Node{Name: some("n"), CPUs: rapid.IntRange(1, 9).Draw(t, "cpus"), Cordoned: rapid.Bool().Draw(t, "cordoned")}
	state := rapid.SampledFrom([]cloud.InstanceState{cloud.Pending, cloud.Stopped, cloud.Terminated}).Draw(t, "state")
	i := cloud.Instance{ID: some("i"), AccountID: "a", State: state, Node: n.Name, CPUs: rapid.IntRange(1, 3).Draw(t, "vcpus"), MemoryMiB: 1}
	v := cloud.Volume{ID: some("v"), AccountID: "a", Node: n.Name, SizeGiB: rapid.Int64Range(1, 3).Draw(t, "gib")}
	return rapid.SampledFrom([]func(context.Context, Tx) error{
		compareFleet,
		func(ctx context.Context, tx Tx) error { return tx.PutNode(ctx, n) },
		func(ctx context.Context, tx Tx) error { return nodes.remove(ctx, tx, "", n.Name) },
		func(ctx context.Context, tx Tx) error { return tx.PutInstance(ctx, i) },
		func(ctx context.Context, tx Tx) error { return tx.DeleteInstance(ctx, i) },
		func(ctx context.Context, tx Tx) error { return tx.PutVolume(ctx, v) },
		func(ctx context.Context, tx Tx) error { return tx.DeleteVolume(ctx, v) },
	}).Draw(t, "step")
}

func compareFleet(ctx context.Context, tx Tx) error {
	got, err := tx.Fleet(ctx)
	if err != nil {
		return err
	}
	all, err := tx.Nodes(ctx)
	if err != nil {
		return err
	}
	use, err := tx.Use(ctx)
	if err != nil {
		return err
	}
	want := cloud.Fleet{}
	for i, n := range all {
		c := cloud.Candidate{Node: &n, Use: use[n.Name]}
		if i < len(got) {
			c.Turn = got[i].Turn
		}
		want = append(want, c)
	}
	if d := cmp.Diff(want, append(cloud.Fleet{}, got...), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		return fmt.Errorf("fleet (-want +got):\n%s", d)
	}
	return nil
}

func TestTurnIsTheLastGiven(t *testing.T) {
	db, ctx := open(t), t.Context()
	last := func() (name string) {
		var turn int64
		err := db.Write(ctx, func(tx Tx) error {
			f, err := tx.Fleet(ctx)
			for _, c := range f {
				if c.Turn > turn {
					name, turn = c.Node.Name, c.Turn
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	put := func(id, node string, state cloud.InstanceState) {
		t.Helper()
		err := db.Write(ctx, func(tx Tx) error {
			if err := tx.PutNode(ctx, cloud.Node{Name: node}); err != nil {
				return err
			}
			return tx.PutInstance(ctx, cloud.Instance{ID: id, State: state, Node: node, CPUs: 1})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("i-1", "n2", cloud.Pending)
	put("i-2", "n1", cloud.Pending)
	put("i-1", "n2", cloud.Stopped) // nothing new for n2
	put("i-1", "n2", cloud.Pending)
	if got := last(); got != "n1" {
		t.Errorf("last given: %s, want n1", got)
	}
	put("i-3", "n3", cloud.Pending)
	if got := last(); got != "n3" {
		t.Errorf("last given: %s, want n3", got)
	}
}

// BenchmarkFleet is what a launch among n nodes pays for reading them, when
// the launch before it changed one.
func BenchmarkFleet(b *testing.B) {
	for _, n := range []int{3, 1000} {
		b.Run(fmt.Sprint("nodes=", n), func(b *testing.B) {
			db, ctx := open(b), b.Context()
			err := db.Write(ctx, func(tx Tx) error {
				for i := range n {
					if err := tx.PutNode(ctx, cloud.Node{Name: fmt.Sprintf("n%04d", i), Zone: "z", Arch: "x86_64", Kind: "sim", CPUs: 1 << 20, Seen: cloudTime}); err != nil {
						return err
					}
				}
				for k := range b.N {
					node := fmt.Sprintf("n%04d", k%n)
					if err := tx.c.exec(ctx, `UPDATE node_use SET cpus = cpus + 1, seq = (SELECT MAX(seq) FROM node_use) + 1 WHERE node = ?`, node); err != nil {
						return err
					}
					if k == 0 {
						if _, err := tx.Fleet(ctx); err != nil {
							return err
						}
						b.ResetTimer()
					}
					if _, err := tx.Fleet(ctx); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
