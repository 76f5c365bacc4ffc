package query

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"eucad/store/cloud"
)

// A Decoder reads parameters into wire types; the generated DecodeQuery
// methods drive it. It keeps the first fault.
type Decoder struct{ err error }

// An Input is what a generated request type can do.
type Input[T any] interface {
	*T
	DecodeQuery(*Decoder, *Node)
}

// Err returns the first fault that decoding met.
func (d *Decoder) Err() error { return d.err }

func (d *Decoder) fail(code, format string, args ...any) {
	if d.err == nil {
		d.err = cloud.Faultf(code, format, args...)
	}
}

// Unknown notes that no parameter of this name exists.
func (d *Decoder) Unknown(n *Node) {
	for !n.has && len(n.kids) > 0 {
		n = &n.kids[0]
	}
	d.fail("UnknownParameter", "The parameter %s is not recognized", clip(n.Path))
}

// Missing notes that n lacks a parameter that every request must have.
func (d *Decoder) Missing(n *Node, name string) {
	if n.Path != "" {
		name = n.Path + "." + name
	}
	d.fail("MissingParameter", "The request must contain the parameter %s", clip(name))
}

func (d *Decoder) invalid(n *Node, want string) {
	d.fail("InvalidParameterValue", "Invalid value '%s' for %s: %s", clip(n.Value), clip(n.Path), want)
}

// Members returns the parameters below n, which stands for a struct.
func (d *Decoder) Members(n *Node) []Node {
	if n.has {
		d.Unknown(n)
	}
	return n.kids
}

// List returns the elements of a list in the order of their indices. These may
// start at 0 or 1, have gaps, and come after "member" (IAM and STS). A value
// without an index is a list of one (Libcloud's KeyName=x).
func (d *Decoder) List(n *Node) []Node {
	if n.has {
		if len(n.kids) > 0 {
			d.Unknown(&n.kids[0])
		}
		return []Node{{Name: "1", Path: n.Path, Value: n.Value, has: true}}
	}
	if len(n.kids) == 1 && n.kids[0].Name == "member" {
		return d.List(&n.kids[0])
	}
	for i := range n.kids {
		k := &n.kids[i]
		var err error
		if k.index, err = strconv.Atoi(k.Name); err != nil || k.index < 0 || k.index > maxIndex || k.Name[0] == '+' {
			d.Unknown(k)
		}
	}
	slices.SortStableFunc(n.kids, func(a, b Node) int { return a.index - b.index })
	for i := 1; i < len(n.kids); i++ {
		if n.kids[i].index == n.kids[i-1].index { // Name.1 and Name.01
			d.Unknown(&n.kids[i])
		}
	}
	return n.kids
}

// scalar returns the value of n. A lone element of a list will do: boto 2
// sends InstanceId.1 where EC2 takes one InstanceId.
func (d *Decoder) scalar(n *Node) (string, bool) {
	if len(n.kids) == 0 {
		return n.Value, n.has
	}
	k := &n.kids[0]
	if n.has || len(n.kids) > 1 || (k.Name != "1" && k.Name != "0") || len(k.kids) > 0 {
		d.Unknown(k)
		return "", false
	}
	return k.Value, k.has
}

// String returns the value of n.
func (d *Decoder) String(n *Node) *string {
	if s, ok := d.scalar(n); ok {
		return &s
	}
	return nil
}

// Strings returns the values of a list.
func (d *Decoder) Strings(list []Node) []string {
	out := make([]string, 0, len(list))
	for i := range list {
		if s, ok := d.scalar(&list[i]); ok {
			out = append(out, s)
		}
	}
	return out
}

// Bool returns the value of n, which is true or false in any case, or 1 or 0.
func (d *Decoder) Bool(n *Node) *bool {
	s, ok := d.scalar(n)
	if !ok || s == "" {
		return nil
	}
	switch {
	case strings.EqualFold(s, "true"), s == "1":
		return new(true)
	case strings.EqualFold(s, "false"), s == "0":
		return new(false)
	}
	d.invalid(n, "it is neither true nor false")
	return nil
}

// Int returns the value of n, a decimal integer of up to 64 bits.
func (d *Decoder) Int(n *Node) *int64 {
	s, ok := d.scalar(n)
	if !ok || s == "" {
		return nil
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		d.invalid(n, "it is not an integer")
		return nil
	}
	return &i
}

// Float returns the value of n.
func (d *Decoder) Float(n *Node) *float64 {
	s, ok := d.scalar(n)
	if !ok || s == "" {
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		d.invalid(n, "it is not a number")
		return nil
	}
	return &f
}

// Time returns the value of n, in RFC 3339 or without a zone (then it is UTC).
func (d *Decoder) Time(n *Node) *time.Time {
	s, ok := d.scalar(n)
	if !ok || s == "" {
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return new(t.UTC())
		}
	}
	d.invalid(n, "it is not a time like 2006-01-02T15:04:05Z")
	return nil
}

// Blob returns the value of n, which is base64 with or without line breaks
// and padding. An empty value gives an empty slice that is not nil.
func (d *Decoder) Blob(n *Node) []byte {
	s, ok := d.scalar(n)
	if !ok {
		return nil
	}
	b, err := DecodeBase64(s)
	if err != nil {
		d.invalid(n, "it is not base64")
		return nil
	}
	return b
}

// DecodeBase64 decodes what clients call base64: padded or not, with line
// breaks or blanks in it (euca2ools breaks lines of user data).
func DecodeBase64(s string) ([]byte, error) {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, s)
	return base64.RawStdEncoding.AppendDecode([]byte{}, []byte(strings.TrimRight(s, "=")))
}
