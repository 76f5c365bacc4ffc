package control

import (
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// A notebook is a node that notes what it is told.
type notebook struct{ told []plan.Batch }

func (n *notebook) Deliver(b plan.Batch) error {
	n.told = append(n.told, b)
	return nil
}

// A front end that fell so far behind that the change feed does not reach back
// to it tells all anew, also of VPCs that it knew before.
func TestFeedIsCutOff(t *testing.T) {
	name := filepath.Join(t.TempDir(), "db")
	db, err := store.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	group := cloud.Group{ID: "sg-1", AccountID: "a", VpcID: "vpc-1", Name: "g"}
	ctx := t.Context()
	write := func(f func(tx store.Tx) error) {
		t.Helper()
		if err := db.Write(ctx, f); err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx store.Tx) error {
		n := cloud.Interface{ID: "eni-1", AccountID: "a", VpcID: "vpc-1", SubnetID: "subnet-1", InstanceID: instance, MAC: "02:00:00:00:00:01",
			PrivateIP: netip.MustParseAddr("10.0.0.4"), Groups: []string{"sg-1"}}
		return errors.Join(
			tx.PutVpc(ctx, cloud.Vpc{ID: "vpc-1", AccountID: "a", VNI: 1, CIDR: netip.MustParsePrefix("10.0.0.0/16")}),
			tx.PutSubnet(ctx, cloud.Subnet{ID: "subnet-1", AccountID: "a", VpcID: "vpc-1", CIDR: netip.MustParsePrefix("10.0.0.0/24")}),
			tx.PutGroup(ctx, group),
			tx.PutNode(ctx, cloud.Node{Name: "n1", CPUs: 8, Seen: tx.Now()}),
			tx.PutInstance(ctx, cloud.Instance{ID: instance, AccountID: "a", VpcID: "vpc-1", State: cloud.Pending, Since: tx.Now(), Node: "n1", Boot: 1, CPUs: 1, Interfaces: []string{"eni-1"}}),
			tx.AddInterface(ctx, n))
	})
	c, n := New(db, Options{}), &notebook{}
	c.Join("n1", n, true)
	// rules returns how many rules the node was last told that the group has.
	rules := func() int {
		t.Helper()
		n.told = nil
		if err := c.once(ctx); err != nil {
			t.Fatal(err)
		}
		for _, b := range n.told {
			for _, u := range b.Vpcs {
				if u.Whole != nil {
					return len(u.Whole.Groups["sg-1"].Ingress)
				}
			}
		}
		t.Fatalf("the node was told nothing of the VPC: %+v", n.told)
		return 0
	}
	if got := rules(); got != 0 {
		t.Errorf("%d rules at first", got)
	}
	group.Rules = append(group.Rules, cloud.Rule{ID: "sgr-1", Protocol: 6, From: 22, To: 22, CIDR: netip.MustParsePrefix("0.0.0.0/0")})
	write(func(tx store.Tx) error { return tx.PutGroup(ctx, group) })
	write(func(tx store.Tx) error {
		return tx.PutNode(ctx, cloud.Node{Name: "n2", CPUs: 8, Seen: tx.Now()})
	})
	cutFeed(t, name)
	if got := rules(); got != 1 {
		t.Errorf("%d rules after the feed was cut off, want 1", got)
	}
}

// cutFeed leaves nothing of the change feed but its last line.
func cutFeed(t *testing.T, name string) {
	t.Helper()
	raw, err := sql.Open("sqlite", name)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.ExecContext(context.Background(), `DELETE FROM change WHERE rev < (SELECT MAX(rev) FROM change)`); err != nil {
		t.Fatal(err)
	}
}
