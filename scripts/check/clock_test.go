package check

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// What waits measures time by the process's monotonic clock, which only
// time.Now as it is has; what people read comes from the store (store.DB.Now).
// So nothing in these packages changes when somebody sets the clock.
func TestMonotonicTime(t *testing.T) {
	strips := regexp.MustCompile(`time\.Now\(\)\.(UTC|Local|In|Round|Truncate|Unix\w*)\(`)
	sources(t, func(root fs.FS, name string) {
		if strings.HasSuffix(name, "_test.go") || !regexp.MustCompile(`^roles/(control|node|cluster|plan|loop)/`).MatchString(name) {
			return
		}
		b, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		if m := strips.Find(b); m != nil {
			t.Errorf("%s: %s…) has no monotonic clock, and a clock that is set changes what happens", name, m)
		}
	})
}
