package query

import (
	"slices"
	"strings"
	"unicode/utf8"

	"eucad/store/cloud"
)

// Limits of a request. They are far above what clients send (16 KiB of user
// data are 22 KiB of base64, and 30 KiB when every byte is escaped) and far
// below what could hurt.
const (
	maxBody   = 1 << 20 // bytes of a body, and of a query string
	maxParams = 10_000  // parameters
	maxDepth  = 12      // parts of a name; the deepest name of EC2 has 9
	maxName   = 512     // bytes of a name
	maxIndex  = 1 << 20 // highest N of Name.N

	maxClientToken = 64 // bytes, as on EC2
)

// param is one decoded name=value pair.
type param struct{ name, value string }

// parseForm appends the parameters of an application/x-www-form-urlencoded
// string to ps. Unlike url.ParseQuery it takes a raw ';' for an ordinary
// character, as AWS and its clients do.
func parseForm(ps []param, s string) ([]param, error) {
	if len(s) > maxBody {
		return nil, cloud.Faultf("RequestEntityTooLarge", "The request is larger than %d bytes.", maxBody)
	}
	for s != "" {
		var pair string
		pair, s, _ = strings.Cut(s, "&")
		if pair == "" {
			continue
		}
		if len(ps) == maxParams {
			return nil, cloud.Faultf("InvalidQueryParameter", "The request has more than %d parameters.", maxParams)
		}
		k, v, _ := strings.Cut(pair, "=")
		k, ok1 := unescape(k)
		v, ok2 := unescape(v)
		if !ok1 || !ok2 {
			return nil, cloud.Faultf("MalformedQueryString", "The parameter %s is not properly percent-encoded UTF-8.", clip(pair))
		}
		if len(k) > maxName || strings.Count(k, ".") >= maxDepth {
			return nil, cloud.Faultf("InvalidQueryParameter", "The parameter name %s is too long.", clip(k))
		}
		ps = append(ps, param{k, v})
	}
	return ps, nil
}

// unescape decodes percent escapes and '+'. It reports whether s is valid and
// the result is UTF-8. Without escapes it does not allocate.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, utf8.ValidString(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '+':
			b = append(b, ' ')
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b), utf8.Valid(b)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// clip shortens what a caller sent so that it can be quoted in an error.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// sortParams orders parameters so that those of one struct or list stand
// together: by name, with '.' below every other character.
func sortParams(ps []param) {
	slices.SortStableFunc(ps, func(a, b param) int { return compareNames(a.name, b.name) })
}

func compareNames(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		switch {
		case x == y:
			continue
		case x == '.':
			return -1
		case y == '.':
			return 1
		}
		return int(x) - int(y)
	}
	return len(a) - len(b)
}
