package sigv4

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// vector is one folder of AWS's suite.
type vector struct {
	Name    string
	Context struct {
		Credentials struct {
			AccessKeyID     string `json:"access_key_id"`
			SecretAccessKey string `json:"secret_access_key"`
			Token           string
		}
		Normalize bool
		Timestamp time.Time
	}
	HeaderRequest   string `json:"header-signed-request.txt"`
	HeaderCanonical string `json:"header-canonical-request.txt"`
	QueryRequest    string `json:"query-signed-request.txt"`
	QueryCanonical  string `json:"query-canonical-request.txt"`
}

func loadVectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/aws-signing-test-suite/v4.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(raw, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

// verifier knows the vector's key and lives at its time.
func (v vector) verifier() *Verifier {
	c := v.Context.Credentials
	return &Verifier{
		Now: func() time.Time { return v.Context.Timestamp },
		Key: func(_ context.Context, id string) (Credential, error) {
			if id != c.AccessKeyID {
				return Credential{}, ErrNoKey
			}
			return Credential{Secret: c.SecretAccessKey, AccountID: "123456789012", Token: c.Token}, nil
		},
	}
}

// parseRequest reads a request as the suite writes it: not always valid HTTP
// (blanks and raw UTF-8 in the target, bare newlines).
func parseRequest(text string) (*http.Request, []byte) {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	target = strings.TrimSuffix(target, " HTTP/1.1")
	r := &http.Request{Method: method, RequestURI: target, Header: http.Header{}, URL: new(url.URL)}
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(target, "?")
	last := ""
	for _, line := range lines[1:] {
		if strings.HasPrefix(line, " ") { // a folded value goes on
			vs := r.Header[last]
			vs[len(vs)-1] += " " + strings.TrimSpace(line)
			continue
		}
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		last = http.CanonicalHeaderKey(k)
		r.Header[last] = append(r.Header[last], v)
		if last == "Host" {
			r.Host = v
		}
	}
	for _, name := range []string{"X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "Authorization"} {
		for i, v := range r.Header[name] {
			r.Header[name][i] = strings.TrimSpace(v) // as net/http does
		}
	}
	return r, []byte(body)
}

func TestVectors(t *testing.T) {
	t.Parallel()
	count := 0
	for _, v := range loadVectors(t) {
		for form, text := range map[string]string{"header": v.HeaderRequest, "query": v.QueryRequest} {
			if text == "" {
				continue // two folders of the suite hold only the unsigned request
			}
			count++
			t.Run(v.Name+"/"+form, func(t *testing.T) {
				r, body := parseRequest(text)
				verifier := v.verifier()
				verifier.keepPath = !v.Context.Normalize
				who, err := verifier.Verify(r, body)
				if err != nil {
					t.Fatalf("%v\nsuite's canonical requests:\n%s\n\n%s", err, v.HeaderCanonical, v.QueryCanonical)
				}
				if want := (Identity{"AKIDEXAMPLE", "123456789012"}); who != want {
					t.Errorf("identity = %v, want %v", who, want)
				}
			})
		}
	}
	if count != 76 {
		t.Errorf("%d vectors ran, want 76", count)
	}
}
