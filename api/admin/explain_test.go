package admin

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eucad/store/cloud"
)

func TestStarts(t *testing.T) {
	t0 := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	event := func(boot uint64, kind cloud.EventKind, ms int) cloud.Event {
		return cloud.Event{Kind: kind, Boot: boot, At: at(ms)}
	}
	placed := event(1, cloud.EventPlaced, 2)
	placed.Choice = &cloud.Choice{Node: "n1", Policy: "spread", Why: "is nice", Others: []cloud.Other{{Node: "n2", Why: "is not"}}}
	phases := event(1, cloud.EventNode, 12)
	phases.Phases = []cloud.Phase{{Name: "queue", Took: 1500 * time.Microsecond}, {Name: "plug", Took: time.Millisecond}}
	failed := event(2, cloud.EventEnding, 160)
	failed.Text = "no space"
	got, err := json.Marshal(starts([]cloud.Event{
		event(1, cloud.EventAccepted, 0), placed, event(1, cloud.EventPlan, 5), event(1, cloud.EventRunning, 11), phases, // told late
		event(1, cloud.EventStopped, 50),
		event(2, cloud.EventAccepted, 100), failed,
	}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"boot":1,"began":"2026-01-02T03:04:05Z","timeline":[` +
		`{"phase":"accepted","at_ms":0,"ms":0},{"phase":"placed","at_ms":2,"ms":2,"text":"on n1"},{"phase":"plan","at_ms":5,"ms":3},` +
		`{"phase":"node: queue","ms":1.5},{"phase":"node: plug","ms":1},{"phase":"running","at_ms":11,"ms":6},{"phase":"stopped","at_ms":50,"ms":39}],` +
		`"placement":{"node":"n1","policy":"spread","why":"is nice","others":[{"node":"n2","why":"is not"}]}},` +
		`{"boot":2,"began":"2026-01-02T03:04:05.1Z","timeline":[{"phase":"accepted","at_ms":0,"ms":0},{"phase":"ending","at_ms":60,"ms":60,"text":"no space"}]}]`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}
