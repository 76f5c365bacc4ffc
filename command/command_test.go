package command

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestOptionsFirst(t *testing.T) {
	app := newApp(io.Discard)
	for in, want := range map[string]string{
		"eucad --role all":                                    "eucad --role all",
		"eucad account create bob --json":                     "eucad account create --json bob",
		"eucad --dir /x account create bob --json":            "eucad --dir /x account create --json bob",
		"eucad account create bob --dir /x":                   "eucad account create --dir /x bob",
		"eucad image import f.img --name n --public --kernel": "eucad image import --name n --public --kernel f.img",
		"eucad image import --name n -- -f":                   "eucad image import --name n -- -f",
		"eucad account":                                       "eucad account",
		"eucad nonsense --json":                               "eucad nonsense --json",
	} {
		if got := optionsFirst(app, strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: got %s, want %s", in, strings.Join(got, " "), want)
		}
	}
}

func TestReplaceSection(t *testing.T) {
	const head, section = "[profile eucad]", "[profile eucad]\nregion = r\n"
	for name, tt := range map[string]struct{ in, want string }{
		"empty":    {"", section},
		"others":   {"[default]\na = b\n", "[default]\na = b\n\n" + section},
		"replaced": {"[default]\na = b\n\n[profile eucad]\nregion = old\nx = y\n\n[profile z]\nc = d\n", "[default]\na = b\n\n" + section + "\n[profile z]\nc = d\n"},
	} {
		if got := replaceSection(tt.in, head, section); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tt.want)
		}
	}
}
