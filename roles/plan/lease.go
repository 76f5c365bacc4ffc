package plan

import "time"

// A node has a lease as long as the front end hears of it. With none, its
// guests go on, but for those that are Movable: they may be started elsewhere,
// so they must have stopped here before. Both sides go by their own clock of
// what has passed (Go's monotonic one), so that a clock that is set, or wrong,
// changes nothing:
//
//   - the node counts from before it sent what was answered,
//   - the front end counts from when it got it, which was not earlier.
//
// So the node has stopped such guests by StopAfter + stopMargin, by a clock
// that began first, and the front end starts none elsewhere before MoveAfter.
// That StopAfter + stopMargin < MoveAfter keeps a guest from running twice. It
// relies on a node that lives: one that hung, or whose host was suspended, may
// find its guests running later. Therefore the server of their volumes is told
// to refuse the node first, whatever the time.
const (
	LeaseTime = 10 * time.Second // a node that says nothing for so long gets no more instances
	StopAfter = 20 * time.Second // then it stops guests that may be started elsewhere
	MoveAfter = 45 * time.Second // then they are

	// stopMargin is for what a node needs to stop its guests (it looks each
	// second, pulls the plug, and tries again), and for clocks of which one
	// runs up to 1 % faster than the other.
	stopMargin = 15 * time.Second
)

const _ = uint(MoveAfter - (StopAfter + stopMargin) - 1) // doesn't compile if negative
