package store

import (
	"strings"
	"testing"

	"eucad/store/cloud"
)

func TestHistoryIsBounded(t *testing.T) {
	db, ctx := open(t), t.Context()
	i := cloud.Instance{ID: "i-1", AccountID: "a", State: cloud.Pending}
	first := cloud.Event{Kind: cloud.EventAccepted, At: cloudTime, Boot: 1}
	var all []cloud.Event
	err := db.Write(ctx, func(tx Tx) error {
		if err := tx.AddInstance(ctx, i, first); err != nil {
			return err
		}
		had := tx.c.changed
		for boot := range uint64(400) {
			long := cloud.Event{Kind: cloud.EventWaiting, At: cloudTime, Boot: boot, Text: strings.Repeat("é", 2000)}
			for range 2 { // reports repeat
				if err := tx.Note(ctx, i.ID, long); err != nil {
					return err
				}
			}
			if err := tx.PutInstance(ctx, i); err != nil { // leaves the history alone
				return err
			}
		}
		if got := tx.c.changed - had; got != 400 {
			t.Errorf("%d changes, want those of the instance only", got)
		}
		if err := tx.Note(ctx, "i-none", first); err != nil {
			return err
		}
		var err error
		all, err = tx.History(ctx, i.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for n, e := range all {
		size += len(e.Text)
		if want := uint64(400 - len(all) + n); e.Boot != want {
			t.Fatalf("event %d is of boot %d, want %d", n, e.Boot, want)
		}
	}
	if len(all) < 30 || len(all) > eventsMax || size > historyMax {
		t.Errorf("%d events of %d bytes", len(all), size)
	}
}
