package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sdk is a cut of the SDK's generated code that shows every shape the
// extractor reads.
const sdk = `package x

import "time"

type Color string
type FooInput struct {
	Name   *string
	At     *time.Time
	Colors []Color
	noSmithyDocumentSerde
}
type FooOutput struct {
	Groups         [][]Thing
	Count          *int32
	ResultMetadata int
}
type Thing struct{ Data []byte }
type Options struct{ Retries int }

func (m *awsEc2query_serializeOpFoo) HandleSerialize() { body.Key("Version").String("2016-11-15") }
func awsEc2query_serializeOpDocumentFooInput(v *FooInput, value query.Value) error {
	if v.Name != nil {
		objectKey := object.Key("TheName")
		objectKey.String(*v.Name)
	}
	if v.At != nil {
		objectKey := object.Key("At")
	}
	if v.Colors != nil {
		objectKey := object.FlatKey("Color")
	}
	return nil
}
func validateOpFooInput(v *FooInput) error {
	if v.Name == nil {
		invalidParams.Add(smithy.NewErrParamRequired("Name"))
	}
	return nil
}
func awsEc2query_deserializeOpDocumentFooOutput(v **FooOutput, decoder smithyxml.NodeDecoder) error {
	switch {
	case strings.EqualFold("groupSet", t.Name.Local):
		if err := awsEc2query_deserializeDocumentGroups(&sv.Groups, nodeDecoder); err != nil {
		}
	case strings.EqualFold("count", t.Name.Local):
		sv.Count = ptr.Int32(int32(i64))
	}
	return nil
}
func awsEc2query_deserializeDocumentGroups(v *[][]Thing, decoder smithyxml.NodeDecoder) error {
	switch {
	case strings.EqualFold("group", t.Name.Local):
		awsEc2query_deserializeDocumentThings(&col, nodeDecoder)
	}
	return nil
}
func awsEc2query_deserializeDocumentThings(v *[]Thing, decoder smithyxml.NodeDecoder) error {
	switch {
	case strings.EqualFold("item", t.Name.Local):
		awsEc2query_deserializeDocumentThing(&destAddr, nodeDecoder)
	}
	return nil
}
func awsEc2query_deserializeDocumentThing(v **Thing, decoder smithyxml.NodeDecoder) error {
	switch {
	case strings.EqualFold("data", t.Name.Local):
		sv.Data = data
	}
	return nil
}
`

func sampleModel(t *testing.T) *Model {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "sdk.go", sdk, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	m, err := read([]*ast.File{f}, "sdk v1")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestExtract(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.json")
	if err := sampleModel(t).save(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
"source": "sdk v1",
"license": "` + licenseNote + `",
"protocol": "ec2",
"version": "2016-11-15",
"actions": [
"Foo"
],
"structs": {
"FooInput": [{"name":"Name","type":"string","in":"TheName","must":true},{"name":"At","type":"time","in":"At"},{"name":"Colors","type":"[]string","in":"Color"}],
"FooOutput": [{"name":"Groups","type":"[][]Thing","out":"groupSet","item":"group/item"},{"name":"Count","type":"int","out":"count"}],
"Thing": [{"name":"Data","type":"blob","out":"data"}]
}
}
`
	if string(got) != want {
		t.Errorf("model =\n%s\nwant\n%s", got, want)
	}
	if _, err := loadModel(file); err != nil {
		t.Error(err)
	}
}

func TestGenerate(t *testing.T) {
	dir := t.TempDir()
	tw := tweaks{
		order: map[string][]string{"FooOutput": {"count"}}, always: map[string][]string{}, raw: []string{"Thing"},
	}
	if err := generate(sampleModel(t), []string{"Foo", "OfAnotherService"}, tw, dir); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"types.gen.go": "type FooInput struct {\n\tName   *string\n\tAt     *time.Time\n\tColors []string\n}",
		"decode.gen.go": "\t\tcase \"Color\":\n\t\t\tlist0 := d.List(c)\n\t\t\tv.Colors = d.Strings(list0)\n\t\tdefault:\n\t\t\td.Unknown(c)\n\t\t}\n\t}\n" +
			"\tif v.Name == nil {\n\t\td.Missing(n, \"TheName\")\n\t}\n",
		"encode.gen.go": "\tb = query.AppendInt(b, \"<count>\", v.Count, \"</count>\")\n\tif len(v.Groups) > 0 {\n\t\tb = append(b, \"<groupSet>\"...)\n\t\tfor i0 := range v.Groups {\n" +
			"\t\t\tb = append(b, \"<group>\"...)\n\t\t\tfor i1 := range v.Groups[i0] {\n\t\t\t\tb = append(b, \"<item>\"...)\n\t\t\t\tb = v.Groups[i0][i1].AppendXML(b)\n",
		"actions.gen.go": "var Known = map[string]bool{\n\t\"Foo\": true,\n}",
	} {
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(got), want) {
			t.Errorf("%s =\n%s\nwant in it\n%s", file, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	m := sampleModel(t)
	none := tweaks{}
	for name, err := range map[string]error{
		"unsorted":      generate(m, []string{"Foo", "Bar"}, none, t.TempDir()),
		"doubled":       generate(m, []string{"Foo", "Foo"}, none, t.TempDir()),
		"nothing known": generate(m, []string{"Bar"}, none, t.TempDir()),
		"bad order":     tweaks{order: map[string][]string{"Thing": {"nope"}}}.check(m),
		"bad asked":     tweaks{asked: map[string][]string{"Thing": {"nope"}}}.check(m),
		"bad raw":       tweaks{raw: []string{"Nope"}}.check(m),
		"bad return":    tweaks{yes: []string{"Nope"}}.check(m),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := read(nil, "schemas only"); err == nil || !strings.Contains(err.Error(), "schemas") {
		t.Errorf("a client without serializers: %v", err)
	}
}
