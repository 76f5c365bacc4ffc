package control

import (
	"errors"
	"path/filepath"
	"testing"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// told is a node that keeps what it is told.
type told []plan.Batch

func (t *told) Deliver(b plan.Batch) error {
	*t = append(*t, b)
	return nil
}

// After a restart of the front end, a head that comes before the nodes of its
// zone is told of their VPCs at once: else it would stop passing packets on.
func TestHeadIsFirst(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx := t.Context()
	err = db.Write(ctx, func(tx store.Tx) error {
		return errors.Join(
			tx.PutVpc(ctx, cloud.Vpc{ID: "vpc-1", AccountID: "a"}),
			tx.PutCluster(ctx, cloud.Cluster{Zone: "z", Head: "h", Regime: "head"}),
			tx.PutNode(ctx, cloud.Node{Name: "n1", Zone: "z"}),
			tx.PutInstance(ctx, cloud.Instance{ID: instance, AccountID: "a", State: cloud.Running, Node: "n1", Boot: 1, CPUs: 1, VpcID: "vpc-1"}),
			tx.PutInterface(ctx, cloud.Interface{ID: "eni-1", AccountID: "a", VpcID: "vpc-1", InstanceID: instance}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	c, head := New(db, Options{}), &told{}
	c.Join("h", head, true)
	if err := c.once(ctx); err != nil {
		t.Fatal(err)
	}
	if len(*head) != 1 || !(*head)[0].Full || len((*head)[0].Vpcs) != 1 || (*head)[0].Vpcs[0].Whole == nil || (*head)[0].Vpcs[0].Whole.Ifaces["eni-1"].Host != "n1" {
		t.Errorf("the head was told %+v", *head)
	}
}
