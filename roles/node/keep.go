package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"eucad/roles/plan"
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
	if err := writeFile(a.opt.Keep, k); err != nil {
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

// restore delivers the plan in the file name, if there is one: with no front
// end in reach the host goes on with it. A front end that was quicker knows better.
func (a *Agent) restore(name string) error {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return fmt.Errorf("the kept plan %s is damaged; remove it, and the front end will tell it anew: %w", name, err)
	}
	a.mu.Lock()
	told := a.told > 0
	a.mu.Unlock()
	if told {
		return nil
	}
	err = a.Take(plan.Message{Epoch: k.Epoch, Batch: k.Plan})
	if errors.Is(err, ErrOlder) { // it came just now
		return nil
	}
	return err
}

// writeFile writes v as JSON, so that the file has all of it or is as before,
// also after the host lost power.
func writeFile(name string, v any) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".plan-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(json.NewEncoder(f).Encode(v), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
