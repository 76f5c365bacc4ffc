package cloud

import "time"

// An Event is one line of an instance's history: what `eucad explain` tells.
type Event struct {
	At     time.Time // when it was over
	Boot   uint64    // the start that it belongs to
	Kind   EventKind
	Text   string  `json:",omitempty"`
	Choice *Choice `json:",omitempty"` // of EventPlaced
	Phases []Phase `json:",omitempty"` // of EventNode
}

// An EventKind says what happened.
type EventKind string

const (
	EventAccepted EventKind = "accepted" // the request arrived
	EventPlaced   EventKind = "placed"   // a node was chosen
	EventPlan     EventKind = "plan"     // its node was told
	EventNode     EventKind = "node"     // what its node did, in phases
	EventWaiting  EventKind = "waiting"  // its node said what stands in the way
	EventRunning  EventKind = "running"
	EventEnding   EventKind = "ending" // it failed, or its guest ended by itself
	EventStopped  EventKind = "stopped"
	EventEnded    EventKind = "terminated"
)

// A Phase is a stretch of a node's work on a start.
type Phase struct {
	Name string
	Took time.Duration
}
