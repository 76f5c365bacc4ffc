package ec2

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestEveryActionHasAScript looks for each action that is served in testdata,
// so that none is added untested.
func TestEveryActionHasAScript(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^Action=(\w+)`).FindAllSubmatch(text, -1) {
			asked[string(m[1])] = true
		}
	}
	for name := range actions {
		if !asked[name] {
			t.Errorf("no script in testdata asks for %s", name)
		}
	}
}
