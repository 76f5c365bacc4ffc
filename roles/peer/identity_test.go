package peer

import (
	"errors"
	"strings"
	"testing"
)

var (
	fe1   = Identity{FrontEnd, "fe1", ""}
	head1 = Identity{Cluster, "head1", "az1"}
	head2 = Identity{Cluster, "head2", "az2"}
	node1 = Identity{Node, "n1", "az1"}
	node2 = Identity{Node, "n2", "az2"}
)

func TestIdentity(t *testing.T) {
	for _, id := range []Identity{fe1, head1, node1, {Node, "A.b-9", "eu-1a"}} {
		got, err := ParseIdentity(id.String())
		if err != nil || got != id {
			t.Errorf("ParseIdentity(%q) = %v, %v", id, got, err)
		}
	}
	for _, s := range []string{
		"", "eucad://", "eucad://node/az1", "eucad://node/az1/n1/", "http://node/az1/n1",
		"eucad://frontend/az1/fe1", "eucad://node//n1", "eucad://node/az1/", "eucad://boss/az1/n1",
		"eucad://node/az1/..", "eucad://node/az1/-n", "eucad://node/az1/n1.", "eucad://node/az1/n%31",
		"eucad://node/az1/n 1", "eucad://node/az1/" + strings.Repeat("n", 64),
	} {
		if id, err := ParseIdentity(s); err == nil {
			t.Errorf("ParseIdentity(%q) = %v", s, id)
		}
	}
}

func FuzzParseIdentity(f *testing.F) {
	for _, id := range []Identity{fe1, head1, node1} {
		f.Add(id.String())
	}
	f.Add("eucad://node/az1/../x")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseIdentity(s); err == nil && id.String() != s {
			t.Errorf("ParseIdentity(%q) = %q", s, id)
		}
	})
}

func TestVersion(t *testing.T) {
	for _, tt := range []struct {
		own, other string
		ok         bool
	}{
		{"1.4.0", "1.4.7", true},
		{"1.4.0", "v1.3.2-rc1", true},
		{"1.4.0", "1.9", true},
		{"1.4.0", "1.2.9", false},
		{"1.4.0", "2.4.0", false},
		{"2.0.0", "1.9.0", false},
		{"1.4.0", "", false},
		{"1.4.0", "1", false},
		{"1.4.0", "1.x", false},
		{"1.4.0", "-1.4", false},
	} {
		err := checkVersion(tt.own, tt.other)
		if (err == nil) != tt.ok {
			t.Errorf("checkVersion(%q, %q) = %v, want ok %v", tt.own, tt.other, err, tt.ok)
		}
		if !tt.ok {
			wantCode(t, err, VersionRefused)
		}
	}
}

// wantCode checks that err is the refusal code; "" is none.
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if got := ErrorCode(err); got != code || err != nil && code == "" {
		t.Errorf("error = %q (%v), want %q", got, err, code)
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Message == "" {
		t.Errorf("error %s says nothing", code)
	}
}
