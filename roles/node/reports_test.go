package node

import (
	"testing"

	"eucad/hyper"
	"eucad/roles/plan"
	"eucad/store/cloud"
)

// A report that failed does not hide a newer one, and its phases are not lost.
func TestReportGivenBack(t *testing.T) {
	var r reports
	r.init()
	r.add(plan.Status{ID: one, State: hyper.Running, Boot: 1, Phases: []cloud.Phase{{Name: "guest"}}})
	r.add(plan.Status{ID: two, State: hyper.Running, Boot: 1, Phases: []cloud.Phase{{Name: "guest"}}})
	failed := r.take()
	r.add(plan.Status{ID: one, State: hyper.ShutDown, Boot: 1})
	r.add(plan.Status{ID: two, State: hyper.Running, Boot: 2})
	r.giveBack(failed)
	got := r.take()
	if len(got) != 2 || got[0].State != hyper.ShutDown || len(got[0].Phases) != 1 || got[1].Boot != 2 || got[1].Phases != nil {
		t.Errorf("then reports %+v", got)
	}
}
