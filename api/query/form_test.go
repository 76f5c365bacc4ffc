package query

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"eucad/store/cloud"
)

func TestParseForm(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     []param
		code     string
	}{
		{name: "empty", in: "", want: nil},
		{name: "pairs", in: "a=1&b=2", want: []param{{"a", "1"}, {"b", "2"}}},
		{name: "semicolon", in: "a=1;b=2", want: []param{{"a", "1;b=2"}}},
		{name: "plus", in: "a+b=c+d%2B", want: []param{{"a b", "c d+"}}},
		{name: "escapes", in: "%41=%c3%A9", want: []param{{"A", "é"}}},
		{name: "no value", in: "a&b=", want: []param{{"a", ""}, {"b", ""}}},
		{name: "empty pairs", in: "&&a=1&", want: []param{{"a", "1"}}},
		{name: "equals in value", in: "a=b=c", want: []param{{"a", "b=c"}}},
		{name: "cut escape", in: "a=%4", code: "MalformedQueryString"},
		{name: "bad escape", in: "a=%zz", code: "MalformedQueryString"},
		{name: "latin 1", in: "a=%E9", code: "MalformedQueryString"},
		{name: "raw latin 1", in: "a=\xE9", code: "MalformedQueryString"},
		{name: "long name", in: strings.Repeat("a", maxName+1) + "=", code: "InvalidQueryParameter"},
		{name: "deep name", in: strings.Repeat("a.", maxDepth) + "a=", code: "InvalidQueryParameter"},
		{name: "many", in: strings.Repeat("a=&", maxParams+1), code: "InvalidQueryParameter"},
		{name: "large", in: strings.Repeat("a", maxBody+1), code: "RequestEntityTooLarge"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseForm(nil, tt.in)
			if code := cloud.FaultCode(err); code != tt.code || (err == nil && !slices.Equal(got, tt.want)) {
				t.Errorf("parseForm(%.40q) = %v, %v; want %v, %q", tt.in, got, err, tt.want, tt.code)
			}
		})
	}
}

func TestCompareNames(t *testing.T) {
	t.Parallel()
	names := []string{"A", "A.1", "A.1.B", "A.10", "A.2", "A!", "AB", "B"}
	for i, a := range names {
		for j, b := range names {
			if got := compareNames(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("compareNames(%q, %q) = %d", a, b, got)
			}
		}
	}
}

// FuzzForm checks that a form is refused or read as net/url reads it, but for
// semicolons, and that the tree has a place for every parameter.
func FuzzForm(f *testing.F) {
	f.Add("Action=RunInstances&Filter.1.Name=a%20b&Filter.1.Value.1=x+y")
	f.Add("A.1=1&A=2&A.1.2=3&A..=4&.=5&=6")
	f.Add("Tag.1.Value=&Value=&A.=%3b")
	f.Fuzz(func(t *testing.T, s string) {
		ps, err := parseForm(nil, s)
		if err != nil {
			return
		}
		want, err := url.ParseQuery(strings.ReplaceAll(s, ";", "%3B"))
		if err != nil {
			t.Fatalf("net/url refuses %q: %v", s, err)
		}
		seen := map[string]int{}
		for _, p := range ps {
			if vs := want[p.name]; len(vs) <= seen[p.name] || vs[seen[p.name]] != p.value {
				t.Fatalf("%q = %q, net/url says %q", p.name, p.value, vs)
			}
			seen[p.name]++
		}
		root, sorted, err := newTree(ps)
		if err != nil {
			return
		}
		left := map[string]string{}
		for _, p := range sorted {
			left[p.name] = p.value
		}
		var walk func(n *Node)
		walk = func(n *Node) {
			for i := range n.kids {
				k := &n.kids[i]
				if k.has {
					if v, ok := left[k.Path]; !ok || v != k.Value {
						t.Fatalf("the tree has %q = %q, the form %q", k.Path, k.Value, v)
					}
					delete(left, k.Path)
				}
				walk(k)
			}
		}
		walk(root)
		if len(left) > 0 {
			t.Fatalf("the tree lacks %v", left)
		}
	})
}

// TestTreeCost checks that a hostile form costs little more than a plain one.
func TestTreeCost(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range maxParams {
		fmt.Fprintf(&b, "a.%d.b.c.d.e.f.g.h=%d&", i, i)
	}
	ps, err := parseForm(nil, b.String())
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := newTree(ps)
	if err != nil || len(root.kids) != 1 || len(root.kids[0].kids) != maxParams {
		t.Errorf("tree of %d parameters: %v", maxParams, err)
	}
}
