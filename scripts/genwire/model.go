package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Model is what the generator knows of one service: names and types only.
type Model struct {
	Source   string              `json:"source"`
	License  string              `json:"license"`
	Protocol string              `json:"protocol"` // "ec2" or "query"
	Version  string              `json:"version"`  // API version, such as 2016-11-15
	Actions  []string            `json:"actions"`
	Structs  map[string][]Member `json:"structs"`
}

// Member is one field of a struct.
type Member struct {
	Name string `json:"name"`           // Go name in the SDK
	Type string `json:"type"`           // scalar, struct name, or "[]" + type
	In   string `json:"in,omitempty"`   // name in a request
	Out  string `json:"out,omitempty"`  // name in an answer
	Item string `json:"item,omitempty"` // element name of an answer's list, outermost first, "/" between
	Must bool   `json:"must,omitempty"` // a request without it is refused
}

// scalars are the model's types that are not structs or lists, and their Go types.
var scalars = map[string]string{
	"string": "*string",
	"int":    "*int64",
	"bool":   "*bool",
	"float":  "*float64",
	"time":   "*time.Time",
	"blob":   "[]byte",
}

const licenseNote = "Names and types extracted from the AWS SDK for Go v2. Copyright Amazon.com, Inc. or its affiliates. Licensed under the Apache License, Version 2.0 (Apache-2.0)."

// save writes the model with a struct a line, so that a new SDK version gives a readable diff.
func (m *Model) save(file string) error {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	str := func(v any) string {
		s, err := json.Marshal(v)
		if err != nil {
			panic(err) // strings and plain structs always encode
		}
		return string(s)
	}
	line("{")
	line("%q: %s,", "source", str(m.Source))
	line("%q: %s,", "license", str(m.License))
	line("%q: %s,", "protocol", str(m.Protocol))
	line("%q: %s,", "version", str(m.Version))
	line("%q: [", "actions")
	for i, a := range m.Actions {
		line("%s%s", str(a), comma(i, len(m.Actions)))
	}
	line("],")
	line("%q: {", "structs")
	names := sortedKeys(m.Structs)
	for i, n := range names {
		line("%s: %s%s", str(n), str(m.Structs[n]), comma(i, len(names)))
	}
	line("}")
	line("}")
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func comma(i, n int) string {
	if i < n-1 {
		return ","
	}
	return ""
}

func loadModel(file string) (*Model, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m := new(Model)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return m, nil
}

// readLines reads a list file: a word a line, # starts a comment.
func readLines(file string) ([]string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lines []string
	sc := bufio.NewScanner(bytes.NewReader(raw))
	for sc.Scan() {
		s, _, _ := strings.Cut(sc.Text(), "#")
		if s = strings.TrimSpace(s); s != "" {
			lines = append(lines, s)
		}
	}
	return lines, sc.Err()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
