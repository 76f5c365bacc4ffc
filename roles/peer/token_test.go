package peer

import (
	"strings"
	"testing"
	"time"
)

func TestToken(t *testing.T) {
	ca, err := OpenCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tok, rec, err := newToken(ca, Node, "az1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s := tok.String()
	if got, err := ParseToken(" " + s + "\n"); err != nil || got != tok {
		t.Errorf("ParseToken = %v, %v", got, err)
	}
	if !rec.opens(tok.Secret[:]) || rec.opens(tok.Secret[1:]) {
		t.Error("the record does not know its secret")
	}
	flip := func(i int) string {
		c := byte('A')
		if s[i] == c {
			c = 'B'
		}
		return s[:i] + string(c) + s[i+1:]
	}
	for _, bad := range []string{
		"", "eucad1.", "eucad2." + s[7:], s[:len(s)-1], s + "AA", flip(20), flip(len(s) - 2),
		s[:30] + s[31:], "eucad1." + strings.Repeat("A", 100), "eucad1." + strings.Repeat("A", 1<<20),
	} {
		_, err := ParseToken(bad)
		wantCode(t, err, TokenMalformed)
	}
}

func FuzzParseToken(f *testing.F) {
	tok := Token{ID: "0123456789abcdef", Role: Node, Zone: "az1"}
	f.Add(tok.String())
	tok.Role, tok.Zone = FrontEnd, ""
	f.Add(tok.String())
	f.Add("eucad1.AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err == nil && tok.String() != strings.TrimSpace(s) {
			t.Errorf("ParseToken(%q) is printed %q", s, tok)
		}
	})
}
