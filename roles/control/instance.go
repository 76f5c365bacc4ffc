package control

import (
	"fmt"
	"time"

	"eucad/hyper"
	"eucad/roles/plan"
	"eucad/store/cloud"
)

// Each state that waits has a deadline, after which the instance moves to a
// named end.
const (
	launchTime = 10 * time.Minute // from pending until its node has it running
	stopTime   = 90 * time.Second // from stopping until the guest has shut itself down; then it is cut
)

// stepInstance returns the instance as it should now be stored, given what its
// node last reported (nil: nothing new), for how long it has waited in its
// state, and what the clock says, which nothing is decided by. It is a pure
// function, so one table tests it all.
func stepInstance(i cloud.Instance, s *plan.Status, waited time.Duration, now time.Time) cloud.Instance {
	for { // one report may be worth two moves
		was := i.State
		i = stepOnce(i, s, waited, now)
		if i.State == was {
			return i
		}
		waited = 0
	}
}

func stepOnce(i cloud.Instance, s *plan.Status, waited time.Duration, now time.Time) cloud.Instance {
	nowhere := i.Node == "" && !i.Fencing
	switch i.State {
	case cloud.Pending:
		return stepPending(i, s, waited, now)
	case cloud.Running:
		if s != nil && ended(i, s) {
			return guestEnded(i, s, now)
		}
	case cloud.Stopping:
		switch {
		case nowhere, s != nil && ended(i, s), s != nil && s.State != hyper.Running && s.Err == "" && !stale(i, s):
			i.Move(cloud.Stopped, now)
		case waited > stopTime:
			i.Cut = true
		}
	case cloud.ShuttingDown:
		if nowhere || s != nil && s.Ended {
			i.Move(cloud.Terminated, now)
		}
	}
	return i
}

func stepPending(i cloud.Instance, s *plan.Status, waited time.Duration, now time.Time) cloud.Instance {
	switch {
	case s != nil && s.State == hyper.Running && s.Boot >= i.Boot:
		i.Move(cloud.Running, now)
		i.StatusSince = now
	case s != nil && ended(i, s):
		return guestEnded(i, s, now)
	case s != nil && s.Final && s.Err != "" && !stale(i, s):
		return launchFailed(i, "Server.InternalError", s.Err, now)
	case waited > launchTime:
		why := "its node has not answered"
		if s != nil && s.Err != "" {
			why = s.Err
		}
		return launchFailed(i, "Server.InternalError", fmt.Sprintf("not running after %s: %s", launchTime, why), now)
	}
	return i
}

// stale reports whether s is of what the node was told before the instance came
// into its state. Nodes of an older eucad do not say. Since only tells one stay
// in a state from another: the clock may have been set back in between.
func stale(i cloud.Instance, s *plan.Status) bool {
	return !s.Since.IsZero() && !s.Since.Equal(i.Since)
}

// ended reports whether s says that the guest, as last started, is over.
func ended(i cloud.Instance, s *plan.Status) bool {
	return s.Boot >= i.Boot && (s.State == hyper.ShutDown || s.State == hyper.Crashed)
}

// guestEnded follows a guest that shut itself down or died, as its
// InstanceInitiatedShutdownBehavior says.
func guestEnded(i cloud.Instance, s *plan.Status, now time.Time) cloud.Instance {
	i.Reason = &cloud.StateReason{Code: "Client.InstanceInitiatedShutdown", Message: "Client.InstanceInitiatedShutdown: Instance initiated shutdown"}
	to := cloud.Stopping
	switch {
	case s.State == hyper.Crashed:
		i.Reason = &cloud.StateReason{Code: "Server.InternalError", Message: "Server.InternalError: The guest crashed"}
	case i.ShutdownTerminates:
		to = cloud.ShuttingDown
	}
	i.Move(to, now)
	return i
}

// launchFailed gives up a start: a first launch is terminated, a later one
// goes back to stopped, for its disk may hold data.
func launchFailed(i cloud.Instance, code, why string, now time.Time) cloud.Instance {
	i.Reason = &cloud.StateReason{Code: code, Message: code + ": " + why}
	to := cloud.ShuttingDown
	if i.Boot > 1 {
		to, i.Cut = cloud.Stopping, true
	}
	i.Move(to, now)
	return i
}
