package store

import (
	"fmt"
	"testing"
	"time"

	"eucad/store/cloud"
)

var cloudTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func BenchmarkWrite(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			db, ctx := open(b), b.Context()
			b.SetParallelism(clients)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := cloud.Instance{ID: cloud.NewID("i"), AccountID: "a", State: cloud.Pending, Since: cloudTime, Node: "n1", CPUs: 1, MemoryMiB: 512}
					if err := db.Write(ctx, func(tx Tx) error { return tx.PutInstance(ctx, i) }); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
