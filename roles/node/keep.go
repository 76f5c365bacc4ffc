package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"eucad/hyper"
	"eucad/roles/plan"
	"eucad/store/file"
)

const (
	keepEvery = 200 * time.Millisecond // at most, while the plan changes, it is written down
	keepAgain = 5 * time.Second        // after it could not be
)

// A kept plan is the whole of it as it was last delivered.
type kept struct {
	Epoch uint64
	Plan  plan.Batch
}

// snapshot returns the whole plan, and which one it is.
func (a *Agent) snapshot() (kept, uint64) {
	a.mu.Lock()
	k := kept{Epoch: a.epoch, Plan: plan.Batch{Rev: a.rev, Full: true}}
	for _, m := range a.machines {
		k.Plan.Machines = append(k.Plan.Machines, m.want)
	}
	told := a.told
	a.mu.Unlock()
	a.net.snapshot(&k.Plan)
	return k, told
}

// keepNow writes the plan down, unless that was done since it was told.
func (a *Agent) keepNow() error {
	if a.opt.Keep == "" {
		return nil
	}
	a.mu.Lock()
	told := a.told
	a.mu.Unlock()
	a.keepMu.Lock()
	defer a.keepMu.Unlock()
	if a.kept >= told {
		return nil
	}
	k, told := a.snapshot()
	b, err := json.Marshal(k)
	if err == nil {
		err = file.Write(a.opt.Keep, b)
	}
	if err != nil {
		return fmt.Errorf("keep the plan: %w", err)
	}
	a.kept = told
	return nil
}

// keepPlan writes the plan down whenever it changed, until ctx ends.
func (a *Agent) keepPlan(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		}
		wait := keepEvery
		if err := a.keepNow(); err != nil {
			a.log.Error("without a front end in reach this host would start again with an older plan", "err", err)
			a.keepLater()
			wait = keepAgain
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// keepLater has the plan written down soon.
func (a *Agent) keepLater() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// KeptHosts returns who is in the cloud by the plan in the file name; nobody is
// when there is none.
func KeptHosts(name string) (h plan.Hosts, err error) {
	k, ok, err := readKept(name)
	if ok && k.Plan.Hosts != nil {
		err = h.Update(*k.Plan.Hosts)
	}
	return h, err
}

func readKept(name string) (k kept, ok bool, err error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return k, false, nil
	}
	if err != nil {
		return k, false, err
	}
	if err := json.Unmarshal(b, &k); err != nil {
		return k, false, fmt.Errorf("the kept plan %s is damaged; remove it, and the front end will tell it anew: %w", name, err)
	}
	return k, true, nil
}

// restore delivers the plan in the file name, if there is one: with no front
// end in reach the host goes on with it. A front end that was quicker knows better.
func (a *Agent) restore(name string) error {
	k, ok, err := readKept(name)
	if err != nil || !ok {
		return err
	}
	a.takeMu.Lock() // or it would be merged over a newer one that was let in after it
	defer a.takeMu.Unlock()
	a.mu.Lock()
	told := a.told > 0
	if !told {
		a.epoch, a.rev = k.Epoch, k.Plan.Rev
	}
	a.mu.Unlock()
	if told {
		return nil
	}
	a.net.hold(a.opt.Driver != nil) // until it is known which guests run
	return a.deliver(k.Plan)
}

// release lets the kept plan have the network, unless guests run that it does
// not know so.
func (a *Agent) release() {
	if _, held := a.net.current(); !held {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, s := range a.others {
		if s.State == hyper.Running {
			a.log.Warn(errHeld.Error(), "instance", id)
			return
		}
	}
	for id, m := range a.machines {
		if m.known.State == hyper.Running && (m.want.Ended || m.want.Power != hyper.On || !a.net.has(m.want.VpcID, m.want.Ports)) {
			a.log.Warn(errHeld.Error(), "instance", id)
			return
		}
	}
	a.net.hold(false)
}
