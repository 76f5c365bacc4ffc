package loop

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var n atomic.Int32
		l := New("test", time.Minute, func(context.Context) error {
			n.Add(1)
			return errors.New("a failed pass does not end the loop")
		})
		go l.Run(ctx)
		check := func(want int32) {
			t.Helper()
			synctest.Wait()
			if got := n.Load(); got != want {
				t.Fatalf("passes = %d, want %d", got, want)
			}
		}
		check(1)
		l.Wake()
		check(2)
		time.Sleep(2*time.Minute + time.Second)
		check(4)
		cancel()
		synctest.Wait()
		l.Wake()
		check(4)
	})
}
