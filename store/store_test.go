package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"eucad/store/cloud"
)

func open(t testing.TB) *DB {
	t.Helper()
	db, err := Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestWriteIsAllOrNothing(t *testing.T) {
	db, ctx := open(t), t.Context()
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 64 { // many at once share commits; each stands alone
		wg.Go(func() {
			err := db.Write(ctx, func(tx Tx) error {
				if err := tx.PutKeyPair(ctx, cloud.KeyPair{ID: fmt.Sprintf("key-%d", i), AccountID: "a", Name: fmt.Sprint(i)}); err != nil {
					return err
				}
				if i%2 == 1 {
					return boom
				}
				return nil
			})
			if want := i%2 == 1; errors.Is(err, boom) != want {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	db.Read(ctx, func(rx Rx) error {
		k, err := rx.KeyPairs(ctx, "a")
		if err != nil || len(k) != 32 {
			t.Errorf("%d key pairs, %v; want 32", len(k), err)
		}
		return nil
	})
}

// A store that is closed has nothing open any more: the last one to close it
// puts the log back into the database.
func TestCloseClosesAll(t *testing.T) {
	name := filepath.Join(t.TempDir(), "db")
	db, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log is still there: %v", err)
	}
}

func TestDryRun(t *testing.T) {
	db := open(t)
	ctx := cloud.WithCall(t.Context(), cloud.Call{DryRun: true})
	rev := db.Rev()
	err := db.Write(ctx, func(tx Tx) error { return tx.PutKeyPair(ctx, cloud.KeyPair{ID: "key-1", AccountID: "a", Name: "k"}) })
	if !errors.Is(err, cloud.ErrDryRun) || db.Rev() != rev {
		t.Errorf("err = %v, revision %d → %d", err, rev, db.Rev())
	}
}

func TestReaderCannotWrite(t *testing.T) {
	db, ctx := open(t), t.Context()
	err := db.Read(ctx, func(rx Rx) error { return rx.c.exec(ctx, `DELETE FROM instance`) })
	if err == nil {
		t.Error("a reader could write")
	}
}

func TestUseFollowsInstances(t *testing.T) {
	db, ctx := open(t), t.Context()
	i := cloud.Instance{ID: "i-1", AccountID: "a", State: cloud.Pending, Node: "n1", CPUs: 2, MemoryMiB: 512}
	step := func(want cloud.Use) {
		t.Helper()
		var got map[string]cloud.Use
		err := db.Write(ctx, func(tx Tx) error {
			if err := tx.PutInstance(ctx, i); err != nil {
				return err
			}
			var err error
			got, err = tx.Use(ctx)
			return err
		})
		if err != nil || got["n1"] != want {
			t.Errorf("%s: use = %+v, %v; want %+v", i.State, got["n1"], err, want)
		}
	}
	step(cloud.Use{Instances: 1, CPUs: 2, MemoryMiB: 512})
	i.State = cloud.Running
	step(cloud.Use{Instances: 1, CPUs: 2, MemoryMiB: 512})
	i.State = cloud.Stopped
	step(cloud.Use{})
	i.State, i.CPUs = cloud.Pending, 4
	step(cloud.Use{Instances: 1, CPUs: 4, MemoryMiB: 512})
	i.State = cloud.Terminated
	step(cloud.Use{})
}

func TestChanges(t *testing.T) {
	db, ctx := open(t), t.Context()
	woken := db.Changed()
	n := cloud.NewDefaultNetwork("a", []string{"z1", "z2"}, cloudTime)
	if err := db.Write(ctx, func(tx Tx) error { return tx.AddNetwork(ctx, n) }); err != nil {
		t.Fatal(err)
	}
	<-woken
	db.Read(ctx, func(rx Rx) error {
		c, err := rx.Changes(ctx, 0, 100)
		if err != nil || len(c) != 7 || c[0].Kind != "vpc" || c[0].ID != n.Vpc.ID || c[6].Rev != db.Rev() {
			t.Errorf("changes = %+v, %v; rev %d", c, err, db.Rev())
		}
		v, err := rx.DefaultVpc(ctx, "a")
		if err != nil || v.VNI != 1 {
			t.Errorf("default VPC %+v, %v", v, err)
		}
		return nil
	})
}

func TestIdempotent(t *testing.T) {
	db, ctx := open(t), t.Context()
	db.Write(ctx, func(tx Tx) error { return tx.KeepToken(ctx, "a", "RunInstances", "tok", "h1", "r-1") })
	db.Read(ctx, func(rx Rx) error {
		if r, ok, err := rx.Idempotent(ctx, "a", "RunInstances", "tok", "h1"); r != "r-1" || !ok || err != nil {
			t.Errorf("same: %q %v %v", r, ok, err)
		}
		if _, _, err := rx.Idempotent(ctx, "a", "RunInstances", "tok", "h2"); cloud.FaultCode(err) != "IdempotentParameterMismatch" {
			t.Errorf("other request: %v", err)
		}
		if _, ok, err := rx.Idempotent(ctx, "b", "RunInstances", "tok", "h2"); ok || err != nil {
			t.Errorf("other account: %v %v", ok, err)
		}
		return nil
	})
}

func TestSecretsAreSealed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "db")
	ctx := context.Background()
	var id, secret string
	for range 2 { // the second time from disk
		db, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Write(ctx, func(tx Tx) error {
			if id == "" {
				var k cloud.AccessKey
				k, secret, err = db.NewAccessKey(ctx, tx, "a")
				id = k.ID
				return err
			}
			_, got, ok, err := db.AccessKey(ctx, tx.Rx, id)
			if got != secret || !ok {
				t.Errorf("secret = %q, %v; want %q", got, ok, secret)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
	}
}
