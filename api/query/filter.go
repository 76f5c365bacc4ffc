package query

import (
	"slices"
	"strings"
	"unicode/utf8"

	"eucad/store/cloud"
)

// maxFilterValues is EC2's bound on the filter values of one call.
const maxFilterValues = 200

// A Filter is one Filter.N of a Describe call: some value must match.
type Filter struct {
	Name   string
	Values []string
}

// Fields are the filters an action knows: by name, the values that a thing has
// for it. A thing matches when one of them does.
type Fields[T any] map[string]func(T) []string

// Compile turns filters into one test: all filters must match, and of each any
// value. In values * stands for any characters, ? for one, and \ takes the
// next character literally. With tags, the filters tag:KEY, tag-key and
// tag-value are known too; tags gives a thing's tags. A filter that is not
// known is the caller's fault, InvalidParameterValue.
//
// Without filters the test is nil, so that callers can skip it.
func Compile[T any](filters []Filter, fields Fields[T], tags func(T) map[string]string) (func(T) bool, error) {
	var tests []func(T) bool
	values := 0
	for _, f := range filters {
		if values += len(f.Values); values > maxFilterValues {
			return nil, cloud.Faultf("FilterLimitExceeded", "The maximum number of filter values specified on a single call is %d.", maxFilterValues)
		}
		if f.Name == "" {
			return nil, cloud.Faultf("MissingParameter", "The request must contain the parameter Filter.Name")
		}
		if len(f.Values) == 0 {
			return nil, cloud.Faultf("InvalidParameterValue", "The filter '%s' has no value", clip(f.Name))
		}
		get := fieldOf(f.Name, fields, tags)
		if get == nil {
			return nil, cloud.Faultf("InvalidParameterValue", "The filter '%s' is invalid", clip(f.Name))
		}
		match := newMatcher(f.Values)
		tests = append(tests, func(v T) bool { return slices.ContainsFunc(get(v), match) })
	}
	if len(tests) == 0 {
		return nil, nil
	}
	return func(v T) bool {
		for _, test := range tests {
			if !test(v) {
				return false
			}
		}
		return true
	}, nil
}

// fieldOf finds the values that the named filter looks at, nil when there is no such filter.
func fieldOf[T any](name string, fields Fields[T], tags func(T) map[string]string) func(T) []string {
	if get := fields[name]; get != nil || tags == nil {
		return get
	}
	if key, ok := strings.CutPrefix(name, "tag:"); ok {
		return func(v T) []string {
			if s, ok := tags(v)[key]; ok {
				return []string{s}
			}
			return nil
		}
	}
	switch name {
	case "tag-key":
		return func(v T) (keys []string) {
			for k := range tags(v) {
				keys = append(keys, k)
			}
			return keys
		}
	case "tag-value": // undocumented today; old clients send it
		return func(v T) (values []string) {
			for _, s := range tags(v) {
				values = append(values, s)
			}
			return values
		}
	}
	return nil
}

// newMatcher returns a test whether a string matches any of the patterns.
func newMatcher(patterns []string) func(string) bool {
	exact := map[string]bool{}
	var globs []string
	for _, p := range patterns {
		if strings.ContainsAny(p, `*?\`) {
			globs = append(globs, p)
		} else {
			exact[p] = true
		}
	}
	if len(globs) == 0 && len(patterns) == 1 {
		return func(s string) bool { return s == patterns[0] }
	}
	return func(s string) bool {
		return exact[s] || slices.ContainsFunc(globs, func(p string) bool { return glob(p, s) })
	}
}

// glob tells whether s matches p. It looks back only to the last *, so it
// takes at most len(p)·len(s) steps.
func glob(p, s string) bool {
	afterStar, retry := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			i++
			afterStar, retry = i, j
			continue
		case i < len(p) && p[i] == '?':
			_, size := utf8.DecodeRuneInString(s[j:])
			i, j = i+1, j+size
			continue
		case i < len(p):
			lit := i
			if p[i] == '\\' && i+1 < len(p) {
				lit++
			}
			if p[lit] == s[j] {
				i, j = lit+1, j+1
				continue
			}
		}
		if afterStar < 0 {
			return false
		}
		retry++
		i, j = afterStar, retry
	}
	return strings.Trim(p[i:], "*") == ""
}
