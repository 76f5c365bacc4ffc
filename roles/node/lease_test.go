package node

import (
	"testing"
	"time"

	"eucad/roles/plan"
)

func TestLeaseAllows(t *testing.T) {
	began := time.Now()
	for _, tt := range []struct {
		name        string
		renewed     time.Duration // after the start; negative: never
		now         time.Duration
		start, keep bool
	}{
		{"eucad has just started", -1, time.Second, false, true},
		{"nobody answers since the start", -1, plan.StopAfter, false, false},
		{"renewed", time.Minute, time.Minute, true, true},
		{"about to run out", time.Minute, time.Minute + plan.StopAfter - 1, true, true},
		{"run out", time.Minute, time.Minute + plan.StopAfter, false, false},
	} {
		l := lease{start: began}
		if tt.renewed >= 0 {
			l.renewed = began.Add(tt.renewed)
		}
		if start, keep := l.allows(began.Add(tt.now)); start != tt.start || keep != tt.keep {
			t.Errorf("%s: may start %v, keep %v; want %v, %v", tt.name, start, keep, tt.start, tt.keep)
		}
	}
}
