package admin

import (
	"net/http"
	"slices"
	"time"

	"eucad/store"
	"eucad/store/cloud"
)

// An Explanation tells what became of an instance, start by start.
type Explanation struct {
	Instance string  `json:"instance"`
	Account  string  `json:"account"`
	Type     string  `json:"type"`
	State    string  `json:"state"`
	Reason   string  `json:"reason,omitempty"` // of the state, when it was not asked for
	Zone     string  `json:"zone"`
	Node     string  `json:"node"`
	Starts   []Start `json:"starts"` // the oldest first; very old ones are forgotten
}

// A Start is one boot of an instance, from the request on.
type Start struct {
	Boot      uint64     `json:"boot"`
	Began     time.Time  `json:"began"`
	Timeline  []Step     `json:"timeline"`
	Placement *Placement `json:"placement,omitempty"`
}

// A Step is a stretch of a start.
type Step struct {
	Phase string   `json:"phase"`
	AtMS  *float64 `json:"at_ms,omitempty"` // its end, since the start began; what a node did has none
	MS    float64  `json:"ms"`              // how long it took
	Text  string   `json:"text,omitempty"`
}

// A Placement is why an instance is on its node.
type Placement struct {
	Node    string  `json:"node"`
	Policy  string  `json:"policy,omitempty"`
	Why     string  `json:"why"`
	Failure string  `json:"failure,omitempty"` // of the site's policy, for which the default one stood in
	Others  []Other `json:"others"`
	Rest    []Rest  `json:"rest,omitempty"` // further nodes, by reason
}

// An Other is a node that was not chosen.
type Other struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// A Rest counts nodes that were not chosen for one reason.
type Rest struct {
	Nodes int    `json:"nodes"`
	Why   string `json:"why"`
}

func (s *Server) explain(r *http.Request) (e Explanation, err error) {
	ctx, id := r.Context(), r.PathValue("id")
	if err := cloud.CheckID("i", id); err != nil {
		return e, err
	}
	err = s.DB.Read(ctx, func(rx store.Rx) error {
		i, ok, err := rx.FindInstance(ctx, id)
		if err != nil {
			return err
		}
		if !ok {
			return cloud.NotFound(id)
		}
		events, err := rx.History(ctx, id)
		e = Explanation{Instance: id, Account: i.AccountID, Type: i.Type, State: string(i.State), Zone: i.Zone, Node: i.Node, Starts: starts(events)}
		if i.Reason != nil {
			e.Reason = i.Reason.Message
		}
		return err
	})
	return e, err
}

// starts sorts events, which are in the order in which they were written, by
// the starts that they belong to.
func starts(events []cloud.Event) []Start {
	out := []Start{}
	at := map[uint64]int{}
	last := map[uint64]time.Time{}
	for _, e := range inOrder(events) {
		i, ok := at[e.Boot]
		if !ok {
			i = len(out)
			at[e.Boot], last[e.Boot] = i, e.At
			out = append(out, Start{Boot: e.Boot, Began: e.At})
		}
		s := &out[i]
		if e.Kind == cloud.EventNode {
			for _, p := range e.Phases {
				s.Timeline = append(s.Timeline, Step{Phase: "node: " + p.Name, MS: ms(p.Took)})
			}
			continue
		}
		since := ms(e.At.Sub(s.Began))
		step := Step{Phase: string(e.Kind), AtMS: &since, MS: ms(e.At.Sub(last[e.Boot])), Text: e.Text}
		if c := e.Choice; c != nil {
			step.Text, s.Placement = "on "+c.Node, newPlacement(c)
		}
		s.Timeline = append(s.Timeline, step)
		last[e.Boot] = e.At
	}
	return out
}

// inOrder returns the events with what a node did before its machine ran in
// front of that: its phases may be told in a second report.
func inOrder(events []cloud.Event) []cloud.Event {
	out := make([]cloud.Event, 0, len(events))
	for _, e := range events {
		at := len(out)
		for e.Kind == cloud.EventNode && at > 0 && out[at-1].Boot == e.Boot &&
			out[at-1].Kind != cloud.EventPlan && out[at-1].Kind != cloud.EventWaiting && out[at-1].Kind != cloud.EventPlaced {
			at--
		}
		out = slices.Insert(out, at, e)
	}
	return out
}

func newPlacement(c *cloud.Choice) *Placement {
	p := &Placement{Node: c.Node, Policy: c.Policy, Why: c.Why, Failure: c.Failure, Others: []Other{}}
	for _, o := range c.Others {
		p.Others = append(p.Others, Other(o))
	}
	for _, r := range c.Rest {
		p.Rest = append(p.Rest, Rest(r))
	}
	return p
}

// ms returns d in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
