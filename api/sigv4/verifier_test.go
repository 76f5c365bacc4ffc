package sigv4

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// vanilla returns the suite's simplest request, signed in the header or presigned.
func vanilla(t testing.TB, presigned bool) (vector, *http.Request) {
	t.Helper()
	for _, v := range loadVectors(t) {
		if v.Name != "get-vanilla" {
			continue
		}
		text := v.HeaderRequest
		if presigned {
			text = v.QueryRequest
		}
		r, _ := parseRequest(text)
		return v, r
	}
	t.Fatal("the suite has no get-vanilla")
	return vector{}, nil
}

func edit(old, new string) func(*http.Request) {
	return func(r *http.Request) {
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, old, new, 1)
		r.RequestURI = strings.Replace(r.RequestURI, old, new, 1)
		for _, vs := range r.Header {
			for i := range vs {
				vs[i] = strings.Replace(vs[i], old, new, 1)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		presigned bool
		edit      func(*http.Request)
		body      string
		late      time.Duration // how much later than signed it arrives
		want      Reason
	}{
		{name: "unsigned", edit: func(r *http.Request) { r.Header.Del("Authorization") }, want: Missing},
		{name: "unknown key", edit: edit("AKIDEXAMPLE", "AKIDOTHER"), want: UnknownKey},
		{name: "wrong signature", edit: edit("Signature=5fa00", "Signature=5fa01"), want: BadSignature},
		{name: "other body", body: "x", want: BadSignature},
		{name: "other path", edit: func(r *http.Request) { r.RequestURI = "/other" }, want: BadSignature},
		{name: "other host", edit: func(r *http.Request) { r.Host = "evil.example" }, want: BadSignature},
		{name: "other query", edit: func(r *http.Request) { r.URL.RawQuery = "Action=Evil" }, want: BadSignature},
		{name: "other region", edit: edit("us-east-1", "us-east-2"), want: BadSignature},
		{name: "stray token", edit: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") }, want: UnknownKey},
		{name: "late", late: 15*time.Minute + time.Second, want: Expired},
		{name: "early", late: -15*time.Minute - time.Second, want: Expired},
		{name: "no date", edit: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, want: Incomplete},
		{name: "odd date", edit: func(r *http.Request) { r.Header.Set("X-Amz-Date", "today") }, want: Incomplete},
		{name: "date of another day", edit: edit("/20150830/", "/20150829/"), want: Incomplete},
		{name: "short scope", edit: edit("/service/", "/"), want: Incomplete},
		{name: "no signature", edit: edit("Signature=", "Sig="), want: Incomplete},
		{name: "short signature", edit: edit("Signature=5fa00fa", "Signature="), want: Incomplete},
		{name: "host not signed", edit: edit("SignedHeaders=host;", "SignedHeaders="), want: Incomplete},
		{name: "other scheme", edit: func(r *http.Request) { r.Header.Set("Authorization", "Basic Zm9v") }, want: Incomplete},
		{name: "huge header", edit: func(r *http.Request) {
			r.Header.Set("Authorization", algorithm+" "+strings.Repeat("x", maxAuth))
		}, want: Incomplete},
		{name: "many headers", edit: edit("SignedHeaders=host", "SignedHeaders=host"+strings.Repeat(";a", maxSigned)), want: Incomplete},
		{name: "unsigned payload", edit: func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
		}, want: BadSignature},

		{name: "wrong presigned signature", presigned: true, edit: edit("X-Amz-Signature=", "X-Amz-Signature=0"), want: Incomplete},
		{name: "presigned late", presigned: true, late: time.Hour + time.Second, want: Expired},
		{name: "presigned early", presigned: true, late: -16 * time.Minute, want: Expired},
		{name: "presigned for too long", presigned: true, edit: edit("X-Amz-Expires=3600", "X-Amz-Expires=604801"), want: Incomplete},
		{name: "presigned life changed", presigned: true, edit: edit("X-Amz-Expires=3600", "X-Amz-Expires=3601"), want: BadSignature},
		{name: "presigned parameter added", presigned: true, edit: edit("X-Amz-Algorithm", "Action=Evil&X-Amz-Algorithm"), want: BadSignature},
		{name: "presigned without date", presigned: true, edit: edit("X-Amz-Date", "X-Amz-Day"), want: Incomplete},
		{name: "presigned with another algorithm", presigned: true, edit: edit("HMAC-SHA256", "HMAC-SHA512"), want: Incomplete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vec, r := vanilla(t, tt.presigned)
			v := vec.verifier()
			v.Now = func() time.Time { return vec.Context.Timestamp.Add(tt.late) }
			if tt.edit != nil {
				tt.edit(r)
			}
			_, err := v.Verify(r, []byte(tt.body))
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Reason != tt.want {
				t.Errorf("Verify: %v (%+v), want reason %d", err, e, tt.want)
			}
		})
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		presigned bool
		late      time.Duration
	}{{false, 15 * time.Minute}, {false, -15 * time.Minute}, {true, time.Hour}, {true, -15 * time.Minute}} {
		vec, r := vanilla(t, tt.presigned)
		v := vec.verifier()
		v.Now = func() time.Time { return vec.Context.Timestamp.Add(tt.late) }
		if _, err := v.Verify(r, nil); err != nil {
			t.Errorf("presigned %v, %s late: %v", tt.presigned, tt.late, err)
		}
	}
}

func TestKeyError(t *testing.T) {
	t.Parallel()
	vec, r := vanilla(t, false)
	v := vec.verifier()
	broken := errors.New("store is on fire")
	v.Key = func(context.Context, string) (Credential, error) { return Credential{}, broken }
	if _, err := v.Verify(r, nil); !errors.Is(err, broken) {
		t.Errorf("Verify: %v, want %v", err, broken)
	}
}

// TestKeyCache checks that a new secret takes effect at once and that the
// cache neither grows without bound nor takes keys of requests that failed.
func TestKeyCache(t *testing.T) {
	t.Parallel()
	vec, r := vanilla(t, false)
	v := vec.verifier()
	good := v.Key
	v.Key = func(context.Context, string) (Credential, error) { return Credential{Secret: "other"}, nil }
	if _, err := v.Verify(r, nil); err == nil || len(v.keys.keys) != 0 {
		t.Errorf("Verify with another secret: %v, %d keys cached; want an error and none", err, len(v.keys.keys))
	}
	v.Key = good
	for range 2 {
		if _, err := v.Verify(r, nil); err != nil || len(v.keys.keys) != 1 {
			t.Errorf("Verify: %v, %d keys cached; want none and 1", err, len(v.keys.keys))
		}
	}
	for i := range 2 * maxKeys {
		v.keys.keep("s", &signature{date: string(rune(i))}, []byte{1})
	}
	if n := len(v.keys.keys); n > maxKeys {
		t.Errorf("%d keys cached, want at most %d", n, maxKeys)
	}
}

func FuzzHeader(f *testing.F) {
	for _, v := range loadVectors(f) {
		if v.HeaderRequest != "" {
			r, body := parseRequest(v.HeaderRequest)
			f.Add(r.Header.Get("Authorization"), r.URL.RawQuery, body)
		}
	}
	f.Add("", "AWSAccessKeyId=a&Signature=b&SignatureMethod=HmacSHA1&SignatureVersion=2&Timestamp=2015-08-30T12:36:00Z", []byte(nil))
	f.Add("", "X-Amz-Signature=0&X-Amz-Expires=-1", []byte("a=%zz"))
	vec, _ := vanilla(f, false)
	f.Fuzz(func(t *testing.T, auth, query string, body []byte) {
		r, _ := http.NewRequest("POST", "http://example.amazonaws.com/", nil)
		r.Header.Set("X-Amz-Date", "20150830T123600Z")
		r.Header.Set("Authorization", auth)
		r.URL.RawQuery = query
		_, err := vec.verifier().Verify(r, body)
		if _, ok := errors.AsType[*Error](err); err != nil && !ok {
			t.Errorf("Verify: %v is not a refusal", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	vec, r := vanilla(b, false)
	v := vec.verifier()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r, nil); err != nil {
			b.Fatal(err)
		}
	}
}
