package control

import (
	"testing"
	"time"

	"eucad/roles/plan"
	"eucad/store/cloud"
)

func TestSilence(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct {
		name       string
		heard, now time.Time
		want       time.Duration
	}{
		{"the front end was away, and has heard nothing yet", time.Time{}, start.Add(time.Second), time.Second},
		{"never heard of", time.Time{}, start.Add(time.Hour), time.Hour},
		{"just heard of", start.Add(time.Minute), start.Add(time.Minute), 0},
		{"heard of", start.Add(time.Minute), start.Add(2 * time.Minute), time.Minute},
	} {
		if got := silence(start, tt.heard, tt.now); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestFate(t *testing.T) {
	network := []cloud.Volume{{Pool: cloud.PoolNetwork}, {Pool: cloud.PoolNetwork}}
	mixed := []cloud.Volume{{Pool: cloud.PoolNetwork}, {Pool: cloud.PoolNode}}
	asked := cloud.Instance{State: cloud.Running, NoAutoRecovery: true}
	in := func(s cloud.InstanceState) cloud.Instance { return cloud.Instance{State: s} }
	for _, tt := range []struct {
		name    string
		in      cloud.Instance
		vols    []cloud.Volume
		silence time.Duration
		want    fate
	}{
		{"heard of", in(cloud.Running), network, time.Second, stays},
		{"may be back", in(cloud.Running), network, plan.StopAfter - 1, stays},
		{"lost", in(cloud.Running), network, plan.StopAfter, moves},
		{"lost while it starts", in(cloud.Pending), network, plan.StopAfter, moves},
		{"one disk on the node", in(cloud.Running), mixed, time.Hour, waits},
		{"one disk on the node, at once", in(cloud.Running), mixed, plan.LeaseTime, waits},
		{"no disk", in(cloud.Running), nil, time.Hour, waits},
		{"no auto-recovery", asked, network, time.Hour, waits},
		{"stopped", in(cloud.Stopped), network, time.Hour, stays},
		{"to be stopped", in(cloud.Stopping), network, plan.StopAfter, leaves},
		{"to be terminated", in(cloud.ShuttingDown), network, plan.StopAfter, leaves},
		{"to be terminated, too early", in(cloud.ShuttingDown), network, plan.StopAfter - 1, stays},
		{"to be terminated, with its disk on the node", in(cloud.ShuttingDown), mixed, time.Hour, waits},
	} {
		if got, why := fateOf(tt.in, tt.vols, tt.silence); got != tt.want || (why != "") != (got == waits) {
			t.Errorf("%s: %d %q, want %d", tt.name, got, why, tt.want)
		}
	}
}
