package query

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"eucad/store/cloud"
)

type thing struct {
	id    string
	kinds []string
	tags  map[string]string
}

var thingFields = Fields[thing]{
	"id":   func(v thing) []string { return []string{v.id} },
	"kind": func(v thing) []string { return v.kinds },
}

func TestCompile(t *testing.T) {
	t.Parallel()
	web := thing{"i-1", []string{"x86", "small"}, map[string]string{"Name": "web", "empty": ""}}
	for _, tt := range []struct {
		name    string
		filters []Filter
		want    bool
		code    string
	}{
		{"one value", []Filter{{"id", []string{"i-1"}}}, true, ""},
		{"other value", []Filter{{"id", []string{"i-2"}}}, false, ""},
		{"values are or", []Filter{{"id", []string{"i-2", "i-1"}}}, true, ""},
		{"filters are and", []Filter{{"id", []string{"i-1"}}, {"kind", []string{"large"}}}, false, ""},
		{"any of many", []Filter{{"kind", []string{"small"}}}, true, ""},
		{"star", []Filter{{"id", []string{"i-*"}}}, true, ""},
		{"question mark", []Filter{{"id", []string{"?-?"}}}, true, ""},
		{"escaped star", []Filter{{"id", []string{`i-\*`}}}, false, ""},
		{"case counts", []Filter{{"id", []string{"I-1"}}}, false, ""},
		{"tag", []Filter{{"tag:Name", []string{"w*"}}}, true, ""},
		{"other tag", []Filter{{"tag:name", []string{"*"}}}, false, ""},
		{"empty tag", []Filter{{"tag:empty", []string{""}}}, true, ""},
		{"tag key", []Filter{{"tag-key", []string{"Na?e"}}}, true, ""},
		{"tag value", []Filter{{"tag-value", []string{"db", "web"}}}, true, ""},
		{"unknown", []Filter{{"nope", []string{"x"}}}, false, "InvalidParameterValue"},
		{"no value", []Filter{{"id", nil}}, false, "InvalidParameterValue"},
		{"no name", []Filter{{"", []string{"x"}}}, false, "MissingParameter"},
		{"too many", []Filter{{"id", make([]string, 201)}}, false, "FilterLimitExceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			test, err := Compile(tt.filters, thingFields, func(v thing) map[string]string { return v.tags })
			if code := cloud.FaultCode(err); code != tt.code {
				t.Fatalf("Compile: %v, want %q", err, tt.code)
			}
			if err == nil && test(web) != tt.want {
				t.Errorf("match = %v, want %v", !tt.want, tt.want)
			}
		})
	}
	if test, err := Compile(nil, thingFields, nil); test != nil || err != nil {
		t.Errorf("no filters gave a test, %v", err)
	}
	if _, err := Compile([]Filter{{"tag:a", []string{"b"}}}, thingFields, nil); err == nil {
		t.Error("tag filter on a thing without tags was accepted")
	}
}

// FuzzGlob compares with a regular expression of the same meaning.
func FuzzGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add(`\*\?\\*`, `*?\z`)
	f.Add("**a*", "é\xff")
	f.Add(`x\`, `x\`)
	f.Fuzz(func(t *testing.T, p, s string) {
		if len(p) > 50 || len(s) > 200 || !utf8.ValidString(p) || !utf8.ValidString(s) {
			return
		}
		var re strings.Builder
		re.WriteString(`(?s)^`)
		for i := 0; i < len(p); i++ {
			switch {
			case p[i] == '*':
				re.WriteString(`.*`)
			case p[i] == '?':
				re.WriteString(`.`)
			case p[i] == '\\' && i+1 < len(p):
				i++
				re.WriteString(quoteByte(p, &i))
			default:
				re.WriteString(quoteByte(p, &i))
			}
		}
		re.WriteString(`$`)
		want := regexp.MustCompile(re.String()).MatchString(s)
		if got := glob(p, s); got != want {
			t.Errorf("glob(%q, %q) = %v, %s says %v", p, s, got, &re, want)
		}
	})
}

// quoteByte quotes the whole character at i and moves i to its last byte.
func quoteByte(p string, i *int) string {
	for _, r := range p[*i:] {
		*i += len(string(r)) - 1
		return regexp.QuoteMeta(string(r))
	}
	return ""
}

func BenchmarkFilter(b *testing.B) {
	test, err := Compile([]Filter{{"kind", []string{"small"}}, {"tag:Name", []string{"w*"}}}, thingFields, func(v thing) map[string]string { return v.tags })
	if err != nil {
		b.Fatal(err)
	}
	v := thing{"i-1", []string{"x86", "small"}, map[string]string{"Name": "web"}}
	b.ReportAllocs()
	for b.Loop() {
		test(v)
	}
}
