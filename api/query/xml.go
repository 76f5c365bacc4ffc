package query

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"
)

// An Output is what a generated answer type can do.
type Output interface {
	// AppendXML appends the elements inside the answer's root element.
	AppendXML(b []byte) []byte
}

// A Streamer is an Output that can be sent before all of it is encoded.
type Streamer interface {
	// StreamXML is AppendXML that passes b through flush now and then and goes
	// on with what flush returns.
	StreamXML(b []byte, flush func([]byte) []byte) []byte
}

// Keep is the flush that keeps everything.
func Keep(b []byte) []byte { return b }

// TimeFormat is how answers write a time, which is always UTC.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// AppendString appends open, the text of s with what XML needs escaped, and
// shut; it appends nothing when s is nil. So do its sisters for other types.
func AppendString(b []byte, open string, s *string, shut string) []byte {
	if s == nil {
		return b
	}
	b = append(b, open...)
	b = AppendText(b, *s)
	return append(b, shut...)
}

// AppendInt appends an integer element.
func AppendInt(b []byte, open string, i *int64, shut string) []byte {
	if i == nil {
		return b
	}
	b = append(b, open...)
	b = strconv.AppendInt(b, *i, 10)
	return append(b, shut...)
}

// AppendBool appends a boolean element.
func AppendBool(b []byte, open string, v *bool, shut string) []byte {
	if v == nil {
		return b
	}
	b = append(b, open...)
	b = strconv.AppendBool(b, *v)
	return append(b, shut...)
}

// AppendFloat appends a number element.
func AppendFloat(b []byte, open string, f *float64, shut string) []byte {
	if f == nil {
		return b
	}
	b = append(b, open...)
	b = strconv.AppendFloat(b, *f, 'f', -1, 64)
	return append(b, shut...)
}

// AppendTime appends a time element, in UTC and to the millisecond.
func AppendTime(b []byte, open string, t *time.Time, shut string) []byte {
	if t == nil {
		return b
	}
	b = append(b, open...)
	b = t.UTC().AppendFormat(b, TimeFormat)
	return append(b, shut...)
}

// AppendBlob appends an element with data in base64.
func AppendBlob(b []byte, open string, data []byte, shut string) []byte {
	if data == nil {
		return b
	}
	b = append(b, open...)
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, shut...)
}

// plain marks the ASCII characters that stand for themselves.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		t[c] = true
	}
	t['\n'], t['\t'] = true, true
	t['&'], t['<'], t['>'], t['"'] = false, false, false, false
	return t
}()

// AppendText appends s as XML character data. What XML 1.0 cannot hold
// (control characters, broken UTF-8) becomes U+FFFD.
func AppendText(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf && plain[c] {
			i++
			continue
		}
		esc, size := escape(s[i:])
		if esc != "" {
			b = append(b, s[start:i]...)
			b = append(b, esc...)
			start = i + size
		}
		i += size
	}
	return append(b, s[start:]...)
}

// escape returns what stands for the first character of s, "" when it stands
// for itself, and its size in bytes.
func escape(s string) (string, int) {
	switch s[0] {
	case '&':
		return "&amp;", 1
	case '<':
		return "&lt;", 1
	case '>':
		return "&gt;", 1
	case '"':
		return "&quot;", 1
	case '\r':
		return "&#xD;", 1
	}
	r, size := utf8.DecodeRuneInString(s)
	if r < ' ' || r == 0xFFFE || r == 0xFFFF || (r == utf8.RuneError && size == 1) {
		return "\uFFFD", size
	}
	return "", size
}
