package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"eucad/api/admin"
)

// Profiles are named as the AWS CLI reads them.
func TestWriteProfile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	t.Setenv("AWS_CONFIG_FILE", file)
	if err := os.WriteFile(file, []byte("[default]\nregion = old\n[profile mine]\nregion = kept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"default", "eucad", "my cloud", "default", "my cloud"} {
		if _, err := writeProfile(name, profileText(name, admin.Credentials{Region: "r"})); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var heads []string
	for line := range strings.Lines(string(got)) {
		if strings.HasPrefix(line, "[") {
			heads = append(heads, strings.TrimSpace(line))
		}
	}
	if have := strings.Join(heads, " "); have != "[default] [profile mine] [profile eucad] [profile 'my cloud']" || strings.Contains(string(got), "old") || !strings.Contains(string(got), "kept") {
		t.Errorf("the file is now\n%s", got)
	}
}
