package cloud

import (
	"slices"
	"sync"
	"testing"
)

// Ids that are made at once, by many, are all different and well-formed, and
// each maker's own grow.
func TestNewID(t *testing.T) {
	const makers, each = 8, 20_000
	all := make([][]string, makers)
	var wg sync.WaitGroup
	for m := range all {
		wg.Go(func() {
			for range each {
				all[m] = append(all[m], NewID("i"))
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, ids := range all {
		if !slices.IsSorted(ids) {
			t.Error("ids of one maker do not grow")
		}
		for _, id := range ids {
			if err := CheckID("i", id); err != nil || len(id) != len("i-")+17 || seen[id] {
				t.Fatalf("%s: %v, there already: %v", id, err, seen[id])
			}
			seen[id] = true
		}
	}
}
