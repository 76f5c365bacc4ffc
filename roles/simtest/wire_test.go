package simtest

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"eucad/roles/plan"
)

// carry moves messages along: some, none, or all that wait.
func (w *world) carry() {
	defer w.throw()
	for _, h := range w.hosts {
		w.throw()
		if h.agent == nil || h.cut.Load() {
			w.lost(h)
			continue
		}
		if h.session == nil && !w.chance(4) {
			h.dial()
		}
		for h.session != nil && !w.chance(3) {
			if w.chance(40) {
				if w.rand.IntN(2) == 0 { // and the front end does not see it yet
					h.dialAgain()
					continue
				}
				w.logf("session of %s breaks", h.row.Name)
				h.hangUp()
				break
			}
			if w.chance(40) {
				h.session.swap()
			}
			l, ok := h.session.next()
			if !ok {
				break
			}
			h.take(l)
			w.rest()
			if w.chance(30) && h.session != nil {
				h.take(l) // twice
				w.rest()
			}
		}
		if w.chance(8) || w.calm {
			h.notice()
		}
		for len(h.stale) > 0 && !w.chance(2) {
			h.late(h.stale[0])
			h.stale = h.stale[1:]
			w.rest()
		}
		for !w.chance(3) {
			r := h.nextCall()
			if r == nil {
				break
			}
			w.report(h, r)
			w.rest()
		}
	}
	w.throw()
	waiting := w.late[:0:0]
	for _, n := range w.rand.Perm(len(w.late)) {
		l := w.late[n]
		if w.chance(2) || time.Now().Before(l.due) && !w.calm {
			waiting = append(waiting, l)
			continue
		}
		w.deliver(l.h, l.data)
		w.rest()
	}
	w.late = waiting
}

// lost is what becomes of the calls of a host that doesn't reach the front end,
// and of its session.
func (w *world) lost(h *host) {
	if w.chance(10) {
		h.hangUp()
	}
	if h.cut.Load() && w.chance(3) {
		if r := h.nextCall(); r != nil {
			r.done <- errors.New("the front end is not in reach")
		}
	}
}

// report brings a call of an agent's to the front end: or not, or more than once.
func (w *world) report(h *host, r *report) {
	switch {
	case w.chance(10):
		r.done <- errors.New("the call is lost")
		return
	case w.chance(10):
		w.arriveLater(h, r.data)
		r.done <- errors.New("no answer; the call is still under way")
		return
	case w.chance(10):
		w.arriveLater(h, r.data)
	}
	err := w.deliver(h, r.data)
	if w.chance(10) {
		err = errors.New("the answer is lost")
	}
	r.done <- err
}

// arriveLater has a report arrive once more: soon, or when much has changed.
func (w *world) arriveLater(h *host, data []byte) {
	due := time.Now()
	if w.rand.IntN(3) == 0 {
		due = due.Add(w.upTo(3 * time.Minute))
	}
	w.late = append(w.late, lateReport{h, data, due})
}

func (w *world) deliver(h *host, data []byte) error {
	var all []plan.Status
	if err := json.Unmarshal(data, &all); err != nil {
		w.t.Fatal(err)
	}
	for _, s := range all {
		w.logf("%s reports %s %s boot %d ended %v %s", h.row.Name, s.ID, s.State, s.Boot, s.Ended, s.Err)
	}
	return w.front.control.ReportFrom(context.Background(), h.row.Name, all)
}
