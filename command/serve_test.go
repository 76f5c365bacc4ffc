package command

import (
	"strings"
	"testing"
)

// What --public-range means depends on what the process does.
func TestPublicRange(t *testing.T) {
	for _, tt := range []struct{ roles, given, want, fault string }{
		{"all", "198.18.0.0/16", "198.18.0.0/16", ""},
		{"frontend", "203.0.113.9/24", "203.0.113.0/24", ""},
		{"frontend", "none", "", ""},
		{"all", "203.0.113.0/31", "", "no IPv4 range"},
		{"cluster", "", "", ""}, // the cloud's
		{"cluster,node", "203.0.113.0/24", "203.0.113.0/24", ""},
		{"cluster", "none", "", "a zone has the cloud's public addresses or its own"},
		{"node", "", "", ""},
		{"node", "203.0.113.0/24", "", "a node is told"},
	} {
		given := tt.given
		if given == "" {
			given = "198.18.0.0/16" // the default
		}
		got, err := publicRange(strings.Split(tt.roles, ","), given, tt.given != "")
		text := ""
		if got.IsValid() {
			text = got.String()
		}
		if text != tt.want || (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("--role %s --public-range %s: %q, %v; want %q, %q", tt.roles, tt.given, text, err, tt.want, tt.fault)
		}
	}
}
