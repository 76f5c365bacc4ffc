package peer

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	// renewLook bounds how long Run sleeps at once: timers stand still while a
	// host is suspended, the life of its certificate does not.
	renewLook = time.Minute

	renewRetryMin = 10 * time.Second
	renewRetryMax = 10 * time.Minute
)

// Run renews the certificate when half of its life is over, and tries again
// until it works, also when it has expired meanwhile. renew is Client.Renew of
// a host that can, or for a front end Authority.Renew.
func (c *Credentials) Run(ctx context.Context, renew func(context.Context, RenewRequest) (Issued, error)) error {
	for {
		if !sleepUntil(ctx, c.renewAt()) {
			return nil
		}
		for wait := renewRetryMin; ; wait = min(2*wait, renewRetryMax) {
			err := c.renew(ctx, renew)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			left := time.Until(c.Certificate().NotAfter).Round(time.Second)
			slog.Warn("certificate not renewed", "host", c.id.String(), "left", left, "err", err)
			if !sleepUntil(ctx, time.Now().Add(jitter(wait))) {
				return nil
			}
		}
		slog.Info("certificate renewed", "host", c.id.String(), "until", c.Certificate().NotAfter)
	}
}

// renewAt is just after half of the certificate's life, not at the same moment
// on all hosts of a cloud that started together.
func (c *Credentials) renewAt() time.Time {
	leaf := c.Certificate()
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotBefore.Add(life/2 + rand.N(life/20+1))
}

func (c *Credentials) renew(ctx context.Context, renew func(context.Context, RenewRequest) (Issued, error)) error {
	csr, err := newCSR(c.key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	is, err := renew(ctx, RenewRequest{Certificate: c.Certificate().Raw, CSR: csr})
	if err != nil {
		return err
	}
	return c.update(is)
}

// sleepUntil waits by the wall clock. It returns false when ctx ends first.
func sleepUntil(ctx context.Context, at time.Time) bool {
	at = at.Round(0)
	for {
		d := time.Until(at)
		if d <= 0 {
			return ctx.Err() == nil
		}
		t := time.NewTimer(min(d, renewLook))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
}

// jitter returns between half of d and d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
