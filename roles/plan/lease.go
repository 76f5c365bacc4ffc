package plan

import (
	"errors"
	"time"
)

// A node holds a lease of its zone's head, which has the volumes of the zone's
// network pool. The head renews it whenever the node asks, whether there is a
// front end or not. A node whose lease has run out stops those of its guests
// that are Movable, for they may be started elsewhere; the others go on. Both
// sides go by their own clock of what has passed (Go's monotonic one), so that
// a clock that is set, or wrong, changes nothing:
//
//   - the node counts from before it asked,
//   - the head counts from when it granted, which was not earlier.
//
// So the node has stopped such guests by StopAfter + stopMargin, by a clock
// that began first, and the head says that a node is fenced off, without which
// nobody starts its guests elsewhere, only MoveAfter its last grant. That
// StopAfter + stopMargin < MoveAfter keeps a guest from running twice. It
// relies on a node that lives: on one that hung, whose host was suspended or
// whose eucad is down or was started anew, guests may run longer. Therefore the
// volumes are also taken from the node, whatever the time, before another one
// is told of the guest.
const (
	LeaseTime = 10 * time.Second // a node that says nothing for so long gets no more instances
	StopAfter = 20 * time.Second // then it stops guests that may be started elsewhere, and the head is asked to fence it off
	MoveAfter = 45 * time.Second // then the head has fenced it off, and they are

	// stopMargin is for what a node needs to stop its guests (it looks each
	// second, pulls the plug, and tries again), and for clocks of which one
	// runs up to 1 % faster than the other.
	stopMargin = 15 * time.Second
)

const _ = uint(MoveAfter - (StopAfter + stopMargin) - 1) // doesn't compile if negative

// Paths of a head's peer API: nodes of its zone keep their lease by GrantPath,
// and the front end has nodes fenced off by FencePath.
const (
	GrantPath = "/grant"
	FencePath = "/fence"
)

// A Fence is what a front end wants of a zone's head: that a node gets no more
// leases, or does again. It is the same however often it is asked for, and of
// two for one node the larger Number is the newer one.
type Fence struct {
	Node   string // "": only Volumes
	Number uint64
	Lifted bool // the node gets leases again

	// Volumes get new holders once the node is fenced off.
	Volumes []VolumeLease `json:",omitempty"`
}

// A VolumeLease is who alone may use a volume ("": nobody); see cloud.Volume.
type VolumeLease struct {
	Volume string
	Holder string
	Epoch  uint64
}

// A Fenced is the answer to a Fence.
type Fenced struct {
	WaitMS int64 // until it may be so; 0: it is
}

// NewFenced returns the answer that says to wait.
func NewFenced(wait time.Duration) Fenced {
	return Fenced{(wait + time.Millisecond - 1).Milliseconds()} // not 0 for what is not over yet
}

// Wait returns how long to wait.
func (f Fenced) Wait() time.Duration { return time.Duration(f.WaitMS) * time.Millisecond }

// ErrNoHead says that a zone's head can't be asked.
var ErrNoHead = errors.New("the head of its zone does not answer, and nobody else can say that its guests have stopped")
