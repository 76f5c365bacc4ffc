package sigv4

import (
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// pathRules tell how a path enters the canonical request.
type pathRules struct {
	clean bool // "." and ".." are resolved and slashes joined
	twice bool // what is escaped is escaped once more
}

// canonicalRequest is the text whose hash is signed.
func canonicalRequest(r *http.Request, s *signature, payload string, rules pathRules) []byte {
	b := make([]byte, 0, 1024)
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = append(b, canonicalPath(rawPath(r), rules)...)
	b = append(b, '\n')
	b = append(b, s.query...)
	b = append(b, '\n')
	for _, name := range s.signed {
		b = append(b, name...)
		b = append(b, ':')
		for i, v := range headerValues(r, name) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendSqueezed(b, v)
		}
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, name := range s.signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return append(b, payload...)
}

// rawPath is the path as it came, before Go decoded it.
func rawPath(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		p, _, _ := strings.Cut(r.RequestURI, "?")
		return p
	}
	return r.URL.EscapedPath()
}

// headerValues returns the values of a header, with those that net/http keeps
// elsewhere.
func headerValues(r *http.Request, name string) []string {
	switch name {
	case "host":
		return []string{r.Host}
	case "content-length":
		if r.Header["Content-Length"] == nil && r.ContentLength >= 0 {
			return []string{strconv.FormatInt(r.ContentLength, 10)}
		}
	}
	return r.Header[http.CanonicalHeaderKey(name)]
}

// appendSqueezed appends s without blanks at its ends and with single ones inside.
func appendSqueezed(b []byte, s string) []byte {
	for i, word := range strings.Fields(s) {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, word...)
	}
	return b
}

func canonicalPath(p string, rules pathRules) string {
	if p == "" || p == "/" {
		return "/"
	}
	if rules.clean {
		c := path.Clean("/" + p)
		if strings.HasSuffix(p, "/") && c != "/" {
			c += "/"
		}
		p = c
	}
	if !rules.twice {
		if u, ok := unescape(p, false); ok {
			p = u
		}
	}
	return string(appendEscaped(nil, p, false))
}

type pair struct{ name, value string }

// splitQuery decodes the pairs of a query or form. What is not properly
// escaped stands for itself.
func splitQuery(raw string) []pair {
	var ps []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		if u, ok := unescape(k, true); ok {
			k = u
		}
		if u, ok := unescape(v, true); ok {
			v = u
		}
		ps = append(ps, pair{k, v})
	}
	return ps
}

// canonicalQuery escapes and sorts a query, without the named parameters.
func canonicalQuery(raw string, without ...string) string {
	if raw == "" {
		return ""
	}
	return joinSorted(splitQuery(raw), without)
}

// joinSorted orders pairs by their escaped names, then values.
func joinSorted(ps []pair, without []string) string {
	ps = slices.DeleteFunc(ps, func(p pair) bool { return slices.Contains(without, p.name) })
	for i, p := range ps {
		ps[i] = pair{string(appendEscaped(nil, p.name, true)), string(appendEscaped(nil, p.value, true))}
	}
	slices.SortFunc(ps, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.String()
}

// appendEscaped percent-encodes all but RFC 3986's unreserved characters.
func appendEscaped(b []byte, s string, slash bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '_' || c == '.' || c == '~' || c == '/' && !slash {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// unescape undoes percent-encoding and, in a form, '+' for a blank.
func unescape(s string, plus bool) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%':
			if i+2 >= len(s) {
				return "", false
			}
			c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			b = append(b, byte(c))
			i += 2
		case s[i] == '+' && plus:
			b = append(b, ' ')
		default:
			b = append(b, s[i])
		}
	}
	return string(b), true
}
