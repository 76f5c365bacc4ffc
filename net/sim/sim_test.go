package sim_test

import (
	"errors"
	"testing"

	"eucad/net/fabric"
	"eucad/net/fabrictest"
	"eucad/net/sim"
)

func TestNetwork(t *testing.T) {
	fabrictest.Test(t, func(t *testing.T) fabrictest.Rig {
		return fabrictest.Rig{Network: sim.New(), Open: func(testing.TB, fabric.Port) func() { return func() {} }}
	})
}

func TestFault(t *testing.T) {
	n := sim.New()
	r := fabrictest.Router("vpc-1", 2)
	broken := errors.New("broken")
	n.SetFault(func(op, id string) error {
		if op == "apply" && id == "vpc-2" || op == "plug" && id == r.Ports[1].ID {
			return broken
		}
		return nil
	})
	c := fabric.Config{Routers: []fabric.Router{r, fabrictest.Router("vpc-2", 1)}}
	if err := n.Apply(t.Context(), c); !errors.Is(err, broken) {
		t.Errorf("Apply = %v", err)
	}
	if got := n.Config().Routers; len(got) != 1 || got[0].ID != "vpc-1" {
		t.Errorf("routers = %v", got)
	}
	for i, want := range []error{nil, broken} {
		if err := n.OpenPort(t.Context(), r.Ports[i]); err != nil {
			t.Fatal(err)
		}
		if err := n.Plug(t.Context(), r.Ports[i].ID); !errors.Is(err, want) {
			t.Errorf("Plug = %v, want %v", err, want)
		}
	}
	if got := n.Plugged(); len(got) != 1 || got[0] != r.Ports[0].ID {
		t.Errorf("plugged = %v", got)
	}
	n.SetFault(nil)
	if err := n.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := n.Plugged(); len(got) != 2 {
		t.Errorf("Apply does not plug what could not be plugged before: only %v", got)
	}
}
