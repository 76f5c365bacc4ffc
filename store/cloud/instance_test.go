package cloud

import (
	"testing"
	"time"
)

// What a stopped instance gave up may be another's by the time it is terminated.
func TestHolds(t *testing.T) {
	for _, tt := range []struct {
		from, to InstanceState
		want     bool
	}{
		{Running, ShuttingDown, true},
		{Stopping, ShuttingDown, true},
		{Stopped, ShuttingDown, false},
		{Stopped, Pending, true},
		{ShuttingDown, Terminated, false},
	} {
		i := Instance{State: tt.from, Node: "n1"}
		if err := i.Move(tt.to, time.Now()); err != nil || i.Holds() != tt.want {
			t.Errorf("%s to %s: holds = %v, want %v (%v)", tt.from, tt.to, i.Holds(), tt.want, err)
		}
	}
}
