package check

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
)

// layers lists, for each part of the tree, the parts of ours it may import.
// The longest prefix speaks for a package; a part may always import itself.
var layers = map[string][]string{
	"store/cloud":    {},
	"store/file":     {},
	"hyper":          {"store/file"},
	"net":            {},
	"store":          {"store/cloud"},
	"api":            {"store", "store/cloud"},
	"roles/loop":     {},
	"roles/plan":     {"store/cloud", "hyper", "net/fabric"},
	"roles/policy":   {"store/cloud"},
	"roles/control":  {"store", "store/cloud", "hyper", "roles/loop", "roles/plan"},
	"roles/frontend": {"api", "store", "store/cloud", "roles/control", "roles/loop", "roles/peer", "roles/plan"},
	"roles/cluster":  {"roles/peer", "roles/plan"},
	"roles/peer":     {"store/file"},
	"roles/node":     {"hyper", "net", "store/cloud", "store/file", "roles/loop", "roles/plan"},
	"roles":          {"roles", "api", "hyper", "net", "store", "store/cloud"},
	"command":        {"roles", "api/admin", "store/cloud", "store/file"},
	".":              {"command"},
}

const module = "eucad/"

// sources calls f with every Go file of ours that is not a test and not in scripts.
func sources(t *testing.T, f func(root fs.FS, name string)) {
	t.Helper()
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (name == "scripts" || name == "build" || strings.HasPrefix(name, ".") && name != ".") {
			return fs.SkipDir
		}
		if path.Ext(name) == ".go" {
			f(root, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLayers(t *testing.T) {
	sources(t, func(root fs.FS, name string) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		part := path.Dir(name)
		for layers[part] == nil && part != "." {
			part = path.Dir(part)
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if imp, ours := strings.CutPrefix(imp, module); ours && !mayImport(part, imp) {
				t.Errorf("%s imports %s, which %s may not", name, imp, part)
			}
		}
	})
}

func mayImport(part, imp string) bool {
	if part != "." && part != "store" && under(imp, part) {
		return true
	}
	for _, p := range layers[part] {
		// Leave to import store is not leave to import what lies below it.
		if imp == p || p != "store" && under(imp, p) {
			return true
		}
	}
	return false
}

func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// maxLines is where a hand-written file has grown past comfort.
const maxLines = 600

func TestFilesStaySmall(t *testing.T) {
	sources(t, func(root fs.FS, name string) {
		if strings.HasSuffix(name, ".gen.go") {
			return
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), "\n"); n > maxLines {
			t.Errorf("%s has %d lines; split it by meaning", name, n)
		}
	})
}
