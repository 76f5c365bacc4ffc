package main

import (
	"fmt"
	"slices"
	"strings"
)

// tweaks are the facts about answers that the SDK does not tell; tweaks.txt explains them.
type tweaks struct {
	order  map[string][]string // struct → element names that come first
	always map[string][]string // struct → lists that are written even when empty
	asked  map[string][]string // struct of an answer → lists that are written only when not nil
	raw    []string            // structs that can carry their XML ready made
	yes    []string            // actions whose answer starts with <return>true</return>
}

func readTweaks(file string) (tweaks, error) {
	t := tweaks{order: map[string][]string{}, always: map[string][]string{}, asked: map[string][]string{}}
	lines, err := readLines(file)
	if err != nil {
		return t, err
	}
	for _, l := range lines {
		w := strings.Fields(l)
		if len(w) < 2 {
			return t, fmt.Errorf("%s: %q lacks a name", file, l)
		}
		switch w[0] {
		case "order":
			t.order[w[1]] = append(t.order[w[1]], w[2:]...)
		case "always":
			t.always[w[1]] = append(t.always[w[1]], w[2:]...)
		case "asked":
			t.asked[w[1]] = append(t.asked[w[1]], w[2:]...)
		case "raw":
			t.raw = append(t.raw, w[1:]...)
		case "return":
			t.yes = append(t.yes, w[1:]...)
		default:
			return t, fmt.Errorf("%s: unknown word %q", file, w[0])
		}
	}
	return t, nil
}

// check finds tweaks that name nothing in the model.
func (t tweaks) check(m *Model) error {
	for _, set := range []map[string][]string{t.order, t.always, t.asked} {
		for name, elems := range set {
			for _, e := range elems {
				if !slices.ContainsFunc(m.Structs[name], func(x Member) bool { return x.Out == e }) {
					return fmt.Errorf("tweaks: %s has no element %s", name, e)
				}
			}
		}
	}
	for _, name := range t.raw {
		if m.Structs[name] == nil {
			return fmt.Errorf("tweaks: no struct %s", name)
		}
	}
	for _, name := range t.yes {
		if m.Structs[name+"Output"] == nil {
			return fmt.Errorf("tweaks: no action %s", name)
		}
	}
	return nil
}

// sorted returns the members in the order of the answer.
func (t tweaks) sorted(name string, members []Member) []Member {
	rank := func(m Member) int {
		if m.Out == "return" {
			return -1
		}
		if i := slices.Index(t.order[name], m.Out); i >= 0 {
			return i
		}
		return len(t.order[name])
	}
	members = slices.Clone(members)
	slices.SortStableFunc(members, func(a, b Member) int { return rank(a) - rank(b) })
	return members
}
