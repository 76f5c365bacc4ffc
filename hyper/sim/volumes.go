package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ErrFenced says that a host may not open a volume: its lease was given to
// another one, or taken back.
var ErrFenced = errors.New("the volume server refuses this host")

// Volumes is a simulated volume server: it keeps who may use each volume, and
// no data. An attachment is a lease with one holder and an epoch. Several
// Drivers share one.
type Volumes struct {
	mu      sync.Mutex
	leases  map[string]lease // by volume
	down    error
	clashes []string
	losses  []Loss
}

// A Loss is a volume that was taken from a host while a machine had it open.
type Loss struct {
	Volume, Host string
	At           time.Time
}

// A lease is who may use a volume.
type lease struct {
	holder string
	epoch  uint64
	revoke func() // takes the volume from the machine that has it open; nil: none has
}

// NewVolumes returns a server that has heard of no volume yet.
func NewVolumes() *Volumes { return &Volumes{leases: map[string]lease{}} }

// Fence gives the lease on a volume to holder ("": nobody) and refuses all
// others. When it returns nil, no machine of another host has the volume open
// or will ever open it with a lower epoch. The same call again changes
// nothing; an epoch that is not the highest is an error.
func (v *Volumes) Fence(ctx context.Context, volume, holder string, epoch uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.mu.Lock()
	was := v.leases[volume]
	switch {
	case v.down != nil:
		defer v.mu.Unlock()
		return v.down
	case epoch < was.epoch, epoch == was.epoch && holder != was.holder:
		defer v.mu.Unlock()
		return fmt.Errorf("volume %s has epoch %d of %q already; %d of %q is older", volume, was.epoch, was.holder, epoch, holder)
	case epoch == was.epoch:
		v.mu.Unlock()
		return nil
	}
	v.leases[volume] = lease{holder: holder, epoch: epoch}
	if was.revoke != nil {
		v.losses = append(v.losses, Loss{volume, was.holder, time.Now()})
	}
	v.mu.Unlock()
	if was.revoke != nil {
		was.revoke() // without v.mu: it waits for a start that may be opening the volume
	}
	return nil
}

// open opens the volume for a machine of holder, which loses it by revoke.
func (v *Volumes) open(volume, holder string, epoch uint64, revoke func()) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.leases[volume]
	switch {
	case v.down != nil:
		return v.down
	case epoch < was.epoch, epoch == was.epoch && holder != was.holder:
		return fmt.Errorf("%w: %s has epoch %d of volume %s, and %q has %d", ErrFenced, holder, epoch, volume, was.holder, was.epoch)
	case was.revoke != nil && was.holder != holder:
		err := fmt.Errorf("%w: %s opens volume %s, which %s has open", ErrFenced, holder, volume, was.holder)
		v.clashes = append(v.clashes, err.Error())
		return err
	}
	v.leases[volume] = lease{holder, epoch, revoke}
	return nil
}

// close notes that the machine of holder has the volume open no more.
func (v *Volumes) close(volume, holder string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if was, ok := v.leases[volume]; ok && was.holder == holder {
		was.revoke = nil
		v.leases[volume] = was
	}
}

// Clashes tells of each time that a host came for a volume which another one
// had open. It was refused; but whoever gives a volume to a host must have
// fenced off the other one before.
func (v *Volumes) Clashes() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.clashes)
}

// Losses returns what was taken since the last call.
func (v *Volumes) Losses() []Loss {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := v.losses
	v.losses = nil
	return out
}

// Open returns who has which volumes open.
func (v *Volumes) Open() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := map[string]string{}
	for id, l := range v.leases {
		if l.revoke != nil {
			out[id] = l.holder
		}
	}
	return out
}

// SetDown makes every call fail with err from now on; nil mends it. What is
// open stays open.
func (v *Volumes) SetDown(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = err
}
