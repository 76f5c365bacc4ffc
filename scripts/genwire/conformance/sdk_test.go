// Package conformance checks the generated wire code of all of EC2's actions
// against AWS's own client: what the client sends is what the action gets, and
// what the action answers is what the client reads.
package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"eucad/api/query"
	"eucad/api/sigv4"
	eucadsts "eucad/api/sts"
	wire "eucad/scripts/genwire/conformance/all"
)

// exchange holds what the last call brought and answered.
type exchange struct{ in, out any }

// newHandler serves every action: it keeps the request and fills the answer.
func newHandler(last *exchange) *query.Handler {
	verifier := &sigv4.Verifier{Key: func(_ context.Context, id string) (sigv4.Credential, error) {
		return sigv4.Credential{Secret: "secret", AccountID: "123456789012"}, nil
	}}
	svc := query.NewService(query.Service{
		Name: "ec2", Version: wire.Version, Namespace: "http://ec2.amazonaws.com/doc/", Known: wire.Known,
	}, struct{}{}, wire.Table(wire.T[struct{}](func(in, out any) {
		fill(reflect.ValueOf(out).Elem(), "", 0)
		*last = exchange{in, out}
	})))
	return &query.Handler{Services: []*query.Service{svc, eucadsts.Service()}, Verify: verifier.Verify}
}

// client is the transport of an SDK client that calls a handler directly.
type client struct{ http.Handler }

func (c client) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.Host, r.RequestURI = r.URL.Host, r.URL.RequestURI()
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w.Result(), nil
}

type creds struct{}

func (creds) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"}, nil
}

func TestClient(t *testing.T) {
	var last exchange
	h := newHandler(&last)
	c := ec2.New(ec2.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://x"), Credentials: creds{}, Retryer: aws.NopRetryer{}, HTTPClient: client{h}})
	calls, leaves := 0, 0
	for name := range wire.Known {
		m := reflect.ValueOf(c).MethodByName(name)
		in := reflect.New(m.Type().In(1).Elem())
		fill(in.Elem(), "", 0)
		if dry := in.Elem().FieldByName("DryRun"); dry.IsValid() {
			dry.Set(reflect.ValueOf(aws.Bool(false)))
		}
		if name == "CopySnapshot" {
			continue // the client signs a copy of the request and adds an unmodelled DestinationRegion
		}
		res := m.Call([]reflect.Value{reflect.ValueOf(t.Context()), in})
		if err := res[1].Interface(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		compare(t, name+" request", last.in, in.Interface())
		compare(t, name+" answer", last.out, res[0].Interface())
		calls++
		leaves += strings.Count(string(canonical(last.in)), ":")
	}
	t.Logf("%d of %d actions, %d members of requests", calls, len(wire.Known), leaves)
	if calls != len(wire.Known)-1 {
		t.Errorf("%d actions agree with the client, want %d", calls, len(wire.Known)-1)
	}
}

// TestSnapshots replays the fully populated requests that come with the SDK:
// every parameter must be taken.
func TestSnapshots(t *testing.T) {
	var last exchange
	h := newHandler(&last)
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/ec2").Output()
	if err != nil {
		t.Fatal(err)
	}
	h.Verify = func(*http.Request, []byte) (sigv4.Identity, error) { return sigv4.Identity{}, nil }
	files, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "request_snapshot", "*.snap"))
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		body := raw[bytes.LastIndex(raw, []byte("\n\n"))+2:]
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		name := strings.TrimSuffix(filepath.Base(file), ".request.snap")
		if w.Code != 200 && w.Code != http.StatusPreconditionFailed && name != "CopySnapshot" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if len(files) < 811 {
		t.Errorf("%d snapshots, want 811", len(files))
	}
}

func TestErrors(t *testing.T) {
	var last exchange
	h := newHandler(&last)
	verify := h.Verify
	opts := sts.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://x"), Credentials: creds{}, Retryer: aws.NopRetryer{}, HTTPClient: client{h}}
	out, err := sts.New(opts).GetCallerIdentity(t.Context(), nil)
	if err != nil || aws.ToString(out.Arn) != "arn:aws:iam::123456789012:root" {
		t.Errorf("GetCallerIdentity: %+v, %v", out, err)
	}
	if _, err := sts.New(opts).GetSessionToken(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "api error UnsupportedOperation: The action GetSessionToken") {
		t.Errorf("GetSessionToken: %v", err)
	}
	h.Verify = func(r *http.Request, body []byte) (sigv4.Identity, error) {
		r.Host = "other"
		return verify(r, body)
	}
	if _, err := sts.New(opts).GetCallerIdentity(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "StatusCode: 403") || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
		t.Errorf("GetCallerIdentity with a wrong signature: %v", err)
	}
	c := ec2.New(ec2.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://x"), Credentials: creds{}, Retryer: aws.NopRetryer{}, HTTPClient: client{h}})
	if _, err := c.DescribeRegions(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "StatusCode: 401") || !strings.Contains(err.Error(), "AuthFailure") {
		t.Errorf("DescribeRegions with a wrong signature: %v", err)
	}
	h.Verify = verify
	if _, err := c.DescribeRegions(t.Context(), &ec2.DescribeRegionsInput{DryRun: aws.Bool(true)}); err == nil || !strings.Contains(err.Error(), "DryRunOperation") {
		t.Errorf("DescribeRegions as a dry run: %v", err)
	}
}

var someTime = time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)

// fill sets every field to something.
func fill(v reflect.Value, name string, depth int) {
	if depth > 14 {
		return
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(someTime))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, depth)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && f.Name != "ResultMetadata" && f.Name != "XML" {
				fill(v.Field(i), f.Name, depth+1)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("blob"))
			return
		}
		n := 2
		if depth > 6 {
			n = 1
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), name, depth+1)
		}
	case reflect.String:
		v.SetString(name + "<&>\"é;+ ")
	case reflect.Int64, reflect.Int32:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64, reflect.Float32:
		v.SetFloat(1.5)
	}
}

func compare(t *testing.T, what string, ours, theirs any) {
	t.Helper()
	a, b := canonical(ours), canonical(theirs)
	if bytes.Equal(a, b) {
		return
	}
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	lo := max(0, i-60)
	t.Errorf("%s differs:\nours   %s\ntheirs %s", what, a[lo:min(len(a), i+80)], b[lo:min(len(b), i+80)])
}

// canonical is v as JSON, sorted, without what is absent.
func canonical(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var x any
	if err := json.Unmarshal(raw, &x); err != nil {
		panic(err)
	}
	raw, _ = json.Marshal(prune(x))
	return raw
}

func prune(x any) any {
	switch x := x.(type) {
	case map[string]any:
		delete(x, "ResultMetadata")
		for k, v := range x {
			if v = prune(v); v == nil || v == "" {
				delete(x, k)
			} else {
				x[k] = v
			}
		}
	case []any:
		for i := range x {
			x[i] = prune(x[i])
		}
	}
	return x
}
