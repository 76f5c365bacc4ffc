package control

import (
	"context"
	"maps"
	"slices"
	"time"

	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// waitingTime is how long a start waits for a report before its history says
// that its node was told. Most starts are reported sooner, and then both are
// written at once.
const waitingTime = 2 * time.Second

// A sent tells when the node of an instance was first told of a start.
type sent struct {
	boot uint64
	at   time.Time // by the clock on the wall
	told time.Time // by this process's monotonic one
}

// event returns the line of the instance's history that tells of it.
func (s sent) event() cloud.Event {
	return cloud.Event{Kind: cloud.EventPlan, At: s.at, Boot: s.boot}
}

// markSent remembers which starts (instance → boot) nodes were told of.
func (c *Control) markSent(starts map[string]uint64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, boot := range starts {
		if c.sent[id].boot < boot {
			c.sent[id] = sent{boot, now, time.Now()}
		}
	}
}

// events returns what a report, or the time, adds to the history of i on its way to next.
func (c *Control) events(i, next cloud.Instance, s *plan.Status, now time.Time) []cloud.Event {
	var events []cloud.Event
	add := func(kind cloud.EventKind, boot uint64, text string, phases []cloud.Phase) {
		events = append(events, cloud.Event{Kind: kind, At: now, Boot: boot, Text: text, Phases: phases})
	}
	if s != nil && s.Phases != nil {
		add(cloud.EventNode, s.Boot, "", s.Phases)
	}
	if s != nil && s.Err != "" && next.State == i.State && i.State == cloud.Pending {
		add(cloud.EventWaiting, i.Boot, s.Err, nil)
	}
	if next.State != i.State {
		why := ""
		if next.Reason != nil {
			why = next.Reason.Message
		}
		switch next.State {
		case cloud.Running:
			add(cloud.EventRunning, i.Boot, "", nil)
		case cloud.Stopped:
			add(cloud.EventStopped, i.Boot, why, nil)
		case cloud.Terminated:
			add(cloud.EventEnded, i.Boot, why, nil)
		default:
			add(cloud.EventEnding, i.Boot, why, nil)
		}
	}
	if len(events) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if told, ok := c.sent[i.ID]; ok {
		events = append([]cloud.Event{told.event()}, events...)
	}
	return events
}

// noted forgets what the histories of these instances now tell.
func (c *Control) noted(ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		delete(c.sent, id)
	}
}

// noteWaiting writes down that nodes were told of starts which they have not
// reported for a while.
func (c *Control) noteWaiting(ctx context.Context) error {
	c.mu.Lock()
	late := maps.Clone(c.sent)
	c.mu.Unlock()
	maps.DeleteFunc(late, func(_ string, s sent) bool { return time.Since(s.told) < waitingTime })
	for part := range slices.Chunk(slices.Sorted(maps.Keys(late)), batchMax) {
		err := c.db.Write(ctx, func(tx store.Tx) error {
			for _, id := range part {
				if err := tx.Note(ctx, id, late[id].event()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		c.noted(part)
	}
	return nil
}
