package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// extractor collects what the SDK's generated client says about its wire format.
//
// The client has one serialize function for each request struct, with the query
// name of every member, and one deserialize function for each answer struct and
// list, with the element names. They are generated from AWS's model by a
// template, so a few shapes of statement cover all of them.
type extractor struct {
	structs map[string][]field           // in declaration order
	enums   map[string]bool              // string types
	in, out map[string]map[string]string // struct → member → wire name
	listOf  map[string]map[string]string // struct → member → name of its list in the SDK's functions
	items   map[string]string            // list → element name
	nested  map[string]string            // list → the list that its elements are
	must    map[string]map[string]string // struct → member → "must", when a request needs it
	version string
}

type field struct{ name, typ string }

// extract downloads module (path@version) into Go's module cache and reads it.
func extract(module string) (*Model, error) {
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go mod download: %w", err)
	}
	var mod struct{ Dir string }
	if err := json.Unmarshal(raw, &mod); err != nil {
		return nil, err
	}
	files, err := parseDir(mod.Dir)
	if err != nil {
		return nil, err
	}
	return read(files, strings.Replace(module, "@", " ", 1))
}

// read makes a model of the files of a client.
func read(files []*ast.File, source string) (*Model, error) {
	x := &extractor{
		structs: map[string][]field{},
		enums:   map[string]bool{},
		in:      map[string]map[string]string{},
		out:     map[string]map[string]string{},
		listOf:  map[string]map[string]string{},
		items:   map[string]string{},
		nested:  map[string]string{},
		must:    map[string]map[string]string{},
	}
	protocol := ""
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				x.types(d)
			case *ast.FuncDecl:
				switch {
				case strings.HasPrefix(d.Name.Name, "awsEc2query_"):
					protocol = "ec2"
				case strings.HasPrefix(d.Name.Name, "awsAwsquery_"):
					protocol = "query"
				}
				x.function(d)
			}
		}
	}
	if protocol == "" || x.version == "" {
		return nil, fmt.Errorf("no query serializers found: has this version moved to schemas? Take the last one with serializers.go, or teach the extractor to read schemas/")
	}
	return x.model(source, protocol), nil
}

func parseDir(dir string) ([]*ast.File, error) {
	var files []*ast.File
	fset := token.NewFileSet()
	for _, glob := range []string{"types/*.go", "*.go"} {
		names, err := filepath.Glob(filepath.Join(dir, glob))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
	}
	return files, nil
}

func (x *extractor) types(d *ast.GenDecl) {
	for _, s := range d.Specs {
		ts, ok := s.(*ast.TypeSpec)
		if !ok {
			continue
		}
		switch t := ts.Type.(type) {
		case *ast.StructType:
			fields := []field{}
			for _, f := range t.Fields.List {
				for _, n := range f.Names {
					if n.IsExported() && n.Name != "ResultMetadata" {
						fields = append(fields, field{n.Name, typeName(f.Type)})
					}
				}
			}
			x.structs[ts.Name.Name] = fields
		case *ast.Ident:
			if t.Name == "string" {
				x.enums[ts.Name.Name] = true
			}
		}
	}
}

// typeName gives the model's name of a Go type: pointers dropped, widths joined.
func typeName(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.StarExpr:
		return typeName(t.X)
	case *ast.SelectorExpr:
		if t.X.(*ast.Ident).Name == "time" {
			return "time"
		}
		return t.Sel.Name
	case *ast.Ident:
		switch t.Name {
		case "int32", "int64":
			return "int"
		case "float32", "float64":
			return "float"
		}
		return t.Name
	case *ast.ArrayType:
		if n := typeName(t.Elt); n != "byte" {
			return "[]" + n
		}
		return "blob"
	}
	return "?"
}

var versionLine = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)

func (x *extractor) function(d *ast.FuncDecl) {
	if strings.HasPrefix(d.Name.Name, "validate") && d.Recv == nil && len(d.Type.Params.List) == 1 {
		x.validator(typeName(d.Type.Params.List[0].Type), d)
		return
	}
	_, after, _ := strings.Cut(d.Name.Name, "query_")
	kind, doc, ok := strings.Cut(after, "Document")
	if !ok {
		if x.version == "" && d.Name.Name == "HandleSerialize" {
			ast.Inspect(d.Body, func(n ast.Node) bool {
				if s := literal(n); versionLine.MatchString(s) {
					x.version = s
				}
				return true
			})
		}
		return
	}
	if strings.HasSuffix(doc, "Unwrapped") || len(d.Type.Params.List) == 0 {
		return
	}
	typ := typeName(d.Type.Params.List[0].Type)
	isList := strings.HasPrefix(typ, "[]")
	switch {
	case strings.HasPrefix(kind, "serialize") && !isList:
		x.serializer(typ, d)
	case strings.HasPrefix(kind, "deserialize"):
		x.deserializer(typ, doc, isList, d)
	}
}

// serializer reads statements of the form
//
//	if v.Member != nil { objectKey := object.Key("Wire"); … }
func (x *extractor) serializer(typ string, d *ast.FuncDecl) {
	for _, s := range d.Body.List {
		cond, ok := s.(*ast.IfStmt)
		if !ok {
			continue
		}
		member, wire := "", ""
		ast.Inspect(cond.Cond, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && member == "" {
				member = s.Sel.Name
			}
			return true
		})
		ast.Inspect(cond.Body, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if f, ok := c.Fun.(*ast.SelectorExpr); ok && wire == "" && (f.Sel.Name == "Key" || f.Sel.Name == "FlatKey") {
				wire = literal(c.Args[0])
			}
			return true
		})
		if wire != "" {
			put(x.in, typ, member, wire)
		}
	}
}

// validator reads calls of the form smithy.NewErrParamRequired("Member").
func (x *extractor) validator(typ string, d *ast.FuncDecl) {
	ast.Inspect(d.Body, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok && len(c.Args) == 1 {
			if f, ok := c.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "NewErrParamRequired" {
				put(x.must, typ, literal(c.Args[0]), "must")
			}
		}
		return true
	})
}

// deserializer reads cases of the form
//
//	case strings.EqualFold("wire", t.Name.Local): … sv.Member = … or deserializeDocumentList(&sv.Member, …)
//
// and, for a list, the element's name and what its elements are.
func (x *extractor) deserializer(typ, doc string, isList bool, d *ast.FuncDecl) {
	ast.Inspect(d.Body, func(n ast.Node) bool {
		c, ok := n.(*ast.CaseClause)
		if !ok || len(c.List) != 1 {
			return true
		}
		call, ok := c.List[0].(*ast.CallExpr)
		if !ok {
			return true
		}
		wire := literal(call.Args[0])
		if isList {
			x.items[doc] = wire
		}
		for _, s := range c.Body {
			ast.Inspect(s, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					if m := member(n.Lhs[0]); m != "" && !isList {
						put(x.out, typ, m, wire)
					}
				case *ast.CallExpr:
					f, ok := n.Fun.(*ast.Ident)
					if !ok {
						break
					}
					_, sub, ok := strings.Cut(f.Name, "Document")
					if !ok {
						break
					}
					if isList {
						x.nested[doc] = sub
					} else if m := member(n.Args[0]); m != "" {
						put(x.out, typ, m, wire)
						put(x.listOf, typ, m, sub)
					}
				}
				return true
			})
		}
		return true
	})
}

// member returns M of sv.M, &sv.M or *sv.M.
func member(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.UnaryExpr:
		return member(t.X)
	case *ast.StarExpr:
		return member(t.X)
	case *ast.SelectorExpr:
		if id, ok := t.X.(*ast.Ident); ok && id.Name == "sv" {
			return t.Sel.Name
		}
	}
	return ""
}

func literal(n ast.Node) string {
	if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
		if s, err := strconv.Unquote(l.Value); err == nil {
			return s
		}
	}
	return ""
}

func put(m map[string]map[string]string, a, b, v string) {
	if m[a] == nil {
		m[a] = map[string]string{}
	}
	m[a][b] = v
}

// model turns what was collected into a Model.
func (x *extractor) model(source, protocol string) *Model {
	m := &Model{Source: source, License: licenseNote, Protocol: protocol, Version: x.version, Structs: map[string][]Member{}}
	for name, fields := range x.structs {
		if op, ok := strings.CutSuffix(name, "Input"); ok && x.structs[op+"Output"] != nil {
			m.Actions = append(m.Actions, op)
		} else if x.sdkOnly(name, fields) {
			continue
		}
		members := []Member{}
		for _, f := range fields {
			members = append(members, Member{
				Name: f.name,
				Type: x.scalar(f.typ),
				In:   x.in[name][f.name],
				Out:  x.out[name][f.name],
				Item: x.itemPath(x.listOf[name][f.name], f.typ),
				Must: x.must[name][f.name] != "",
			})
		}
		m.Structs[name] = members
	}
	slices.Sort(m.Actions)
	return m
}

// sdkOnly tells whether a struct is the SDK's own (options, resolvers, errors) and not on the wire.
func (x *extractor) sdkOnly(name string, fields []field) bool {
	if slices.Contains(fields, field{"ErrorCodeOverride", "string"}) {
		return true
	}
	return !strings.HasSuffix(name, "Output") && x.in[name] == nil && x.out[name] == nil
}

// scalar replaces enums by string: a server knows better which values it serves.
func (x *extractor) scalar(typ string) string {
	elem := strings.TrimLeft(typ, "[]")
	if x.enums[elem] {
		return strings.TrimSuffix(typ, elem) + "string"
	}
	return typ
}

// itemPath names the elements of a list and of the lists in it.
func (x *extractor) itemPath(list, typ string) string {
	if list == "" || !strings.HasPrefix(typ, "[]") {
		return ""
	}
	path := x.items[list]
	if sub := x.itemPath(x.nested[list], typ[2:]); sub != "" {
		path += "/" + sub
	}
	return path
}
