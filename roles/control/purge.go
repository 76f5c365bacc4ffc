package control

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"eucad/store"
	"eucad/store/cloud"
)

const (
	listedTime = time.Hour   // for which a terminated instance is still listed, as on EC2
	purgeEvery = time.Minute // between looks for those that need not be any more
	tokenTime  = 48 * time.Hour
	auditTime  = 90 * 24 * time.Hour
)

// listed tells since when instances are terminated, as waited does.
type listed struct {
	start  time.Time            // of the process, by its monotonic clock
	wall   time.Time            // and by the clock on the wall
	looked time.Time            // last
	seen   map[string]time.Time // by instance
}

// purge forgets what is no longer listed, now and then.
func (c *Control) purge(ctx context.Context) error {
	l := &c.listed
	if !l.looked.IsZero() && time.Since(l.looked) < purgeEvery {
		return nil
	}
	var all []string
	err := c.db.Read(ctx, func(rx store.Rx) (err error) {
		all, err = rx.InstancesTerminated(ctx)
		return err
	})
	if err != nil {
		return err
	}
	l.looked = time.Now()
	gone := l.gone(all, l.looked)
	if len(gone) == 0 {
		return nil
	}
	slog.Debug("terminated instances are no longer listed", "count", len(gone))
	for part := range slices.Chunk(gone, batchMax) {
		err := c.db.Write(ctx, func(tx store.Tx) error {
			for _, id := range part {
				i, ok, err := tx.FindInstance(ctx, id)
				if err == nil && ok && i.State == cloud.Terminated {
					err = tx.DeleteInstance(ctx, i)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return c.db.Write(ctx, func(tx store.Tx) error {
		now := l.notAfter(tx.Now(), time.Now())
		return tx.Expire(ctx, now.Add(-tokenTime), now.Add(-auditTime))
	})
}

// gone returns which of all instances that are terminated were so listedTime ago.
func (l *listed) gone(all []string, now time.Time) (out []string) {
	seen := make(map[string]time.Time, len(all))
	for _, id := range all {
		at, ok := l.seen[id]
		if !ok {
			at = now
		}
		if seen[id] = at; now.Sub(at) > listedTime {
			out = append(out, id)
		}
	}
	l.seen = seen
	return out
}

// notAfter returns a time of the clock on the wall by which nothing that was
// stored since the process started looks older than it is, though that clock
// was set: now is what it says, and mono is the process's own.
func (l *listed) notAfter(now, mono time.Time) time.Time {
	if steady := l.wall.Add(mono.Sub(l.start)); steady.Before(now) {
		return steady
	}
	return now
}
