package control

import (
	"testing"
	"time"

	"eucad/hyper"
	"eucad/roles/plan"
	"eucad/store/cloud"
)

func TestStepInstance(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(s cloud.InstanceState, boot uint64) cloud.Instance {
		return cloud.Instance{ID: "i-1", State: s, Node: "n1", Boot: boot, Since: start}
	}
	terminates := at(cloud.Running, 1)
	terminates.ShutdownTerminates = true
	nowhere := at(cloud.ShuttingDown, 1)
	nowhere.Node = ""
	for _, tt := range []struct {
		name   string
		in     cloud.Instance
		seen   *plan.Status
		wait   time.Duration
		want   cloud.InstanceState
		reason string
	}{
		{"booted", at(cloud.Pending, 1), &plan.Status{State: hyper.Running, Boot: 1}, 0, cloud.Running, ""},
		{"no word yet", at(cloud.Pending, 1), nil, time.Minute, cloud.Pending, ""},
		{"word of the boot before", at(cloud.Pending, 2), &plan.Status{State: hyper.ShutDown, Boot: 1}, 0, cloud.Pending, ""},
		{"running from the boot before", at(cloud.Pending, 2), &plan.Status{State: hyper.Running, Boot: 1}, 0, cloud.Pending, ""},
		{"may still work", at(cloud.Pending, 1), &plan.Status{State: hyper.Absent, Err: "no libvirtd"}, time.Minute, cloud.Pending, ""},
		{"cannot work", at(cloud.Pending, 1), &plan.Status{State: hyper.Absent, Err: "no space", Final: true}, 0, cloud.ShuttingDown, "Server.InternalError"},
		{"cannot start again", at(cloud.Pending, 2), &plan.Status{State: hyper.Absent, Err: "no space", Final: true}, 0, cloud.Stopping, "Server.InternalError"},
		{"never came up", at(cloud.Pending, 1), nil, time.Hour, cloud.ShuttingDown, "Server.InternalError"},
		{"over before it was seen", at(cloud.Pending, 1), &plan.Status{State: hyper.ShutDown, Boot: 1}, 0, cloud.Stopped, "Client.InstanceInitiatedShutdown"},
		{"guest shut down", at(cloud.Running, 1), &plan.Status{State: hyper.ShutDown, Boot: 1}, 0, cloud.Stopped, "Client.InstanceInitiatedShutdown"},
		{"guest shut down for good", terminates, &plan.Status{State: hyper.ShutDown, Boot: 1}, 0, cloud.ShuttingDown, "Client.InstanceInitiatedShutdown"},
		{"guest crashed", terminates, &plan.Status{State: hyper.Crashed, Boot: 1}, 0, cloud.Stopped, "Server.InternalError"},
		{"late word of an earlier boot", at(cloud.Running, 3), &plan.Status{State: hyper.ShutDown, Boot: 2}, 0, cloud.Running, ""},
		{"stopped as asked", at(cloud.Stopping, 1), &plan.Status{State: hyper.ShutDown, Boot: 1}, 0, cloud.Stopped, ""},
		{"not stopped yet", at(cloud.Stopping, 1), &plan.Status{State: hyper.Running, Boot: 1}, time.Second, cloud.Stopping, ""},
		{"gone", at(cloud.ShuttingDown, 1), &plan.Status{State: hyper.Absent, Ended: true}, 0, cloud.Terminated, ""},
		{"not gone yet", at(cloud.ShuttingDown, 1), &plan.Status{State: hyper.Absent}, time.Hour, cloud.ShuttingDown, ""},
		{"never placed", nowhere, nil, 0, cloud.Terminated, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := stepInstance(tt.in, tt.seen, tt.wait, start)
			reason := ""
			if got.Reason != nil {
				reason = got.Reason.Code
			}
			if got.State != tt.want || reason != tt.reason {
				t.Errorf("state = %s (%s), want %s (%s)", got.State, reason, tt.want, tt.reason)
			}
		})
	}
	stuck := stepInstance(at(cloud.Stopping, 1), nil, stopTime+time.Second, start)
	if !stuck.Cut {
		t.Error("a guest that does not shut down is not cut")
	}
}

// A report that was on its way while the instance was started and stopped
// again says nothing of this stop.
func TestLateReport(t *testing.T) {
	i := cloud.Instance{ID: "i-1", State: cloud.Stopping, Node: "n1", Boot: 2, Since: time.Unix(100, 0)}
	for _, tt := range []struct {
		name string
		s    plan.Status
		want cloud.InstanceState
	}{
		{"of the stop before", plan.Status{State: hyper.Stopped, Boot: 1, Since: i.Since.Add(-time.Minute)}, cloud.Stopping},
		{"of the stop before, since when the clock was set back", plan.Status{State: hyper.Stopped, Boot: 1, Since: i.Since.Add(time.Hour)}, cloud.Stopping},
		{"of this stop", plan.Status{State: hyper.Stopped, Boot: 2, Since: i.Since}, cloud.Stopped},
		{"of this stop, never started", plan.Status{State: hyper.Stopped, Boot: 1, Since: i.Since}, cloud.Stopped},
		{"the guest ended before it was asked", plan.Status{State: hyper.ShutDown, Boot: 2, Since: i.Since.Add(-time.Second)}, cloud.Stopped},
		{"of a node that does not say", plan.Status{State: hyper.Stopped, Boot: 2}, cloud.Stopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := stepInstance(i, &tt.s, time.Second, i.Since).State; got != tt.want {
				t.Errorf("state = %s, want %s", got, tt.want)
			}
		})
	}
}
