package query_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/api/sigv4"
	"eucad/api/sts"
	"eucad/store/cloud"
)

var update = flag.Bool("update", false, "rewrite testdata from what the handler says")

// testServer has an action for everything that can happen to one.
type testServer struct{}

func (testServer) runInstances(ctx context.Context, in *wire.RunInstancesInput) (*wire.RunInstancesOutput, error) {
	if query.DryRun(ctx) {
		return nil, fmt.Errorf("launch: %w", cloud.ErrDryRun) // as the store does
	}
	return &wire.RunInstancesOutput{
		OwnerId:   new(query.FromContext(ctx).Account),
		Instances: []wire.Instance{{ImageId: in.ImageId, LaunchTime: nil, Tags: in.TagSpecifications[0].Tags}},
	}, nil
}

func (testServer) createTags(context.Context, *wire.CreateTagsInput) (*wire.CreateTagsOutput, error) {
	return nil, nil
}

func (testServer) describeInstances(context.Context, *wire.DescribeInstancesInput) (*wire.DescribeInstancesOutput, error) {
	return nil, cloud.Faultf("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", "i-<&>")
}

func (testServer) stopInstances(context.Context, *wire.StopInstancesInput) (*wire.StopInstancesOutput, error) {
	return nil, errors.New("read /var/lib/eucad/secret: no such file")
}

func (testServer) startInstances(context.Context, *wire.StartInstancesInput) (*wire.StartInstancesOutput, error) {
	return nil, cloud.Faultf("InsufficientInstanceCapacity", "There is no room.")
}

func (testServer) rebootInstances(context.Context, *wire.RebootInstancesInput) (*wire.RebootInstancesOutput, error) {
	panic("oops: secret")
}

// hashes is what describeTags reports of its request.
func (testServer) describeTags(ctx context.Context, _ *wire.DescribeTagsInput) (*wire.DescribeTagsOutput, error) {
	return &wire.DescribeTagsOutput{NextToken: new(query.RequestHash(ctx))}, nil
}

func allow(*http.Request, []byte) (sigv4.Identity, error) {
	return sigv4.Identity{AccessKeyID: "AKIA", AccountID: "123456789012"}, nil
}

func newTestHandler(log io.Writer) *query.Handler {
	return &query.Handler{
		Services: []*query.Service{
			query.NewService(query.Service{
				Name: "ec2", Dialect: query.EC2, Version: wire.Version, Namespace: "http://ec2.amazonaws.com/doc/", Known: wire.Known,
			}, testServer{}, map[string]query.Action[testServer]{
				"CreateTags":        query.Handle(testServer.createTags),
				"DescribeInstances": query.Handle(testServer.describeInstances),
				"DescribeTags":      query.Handle(testServer.describeTags),
				"RebootInstances":   query.Handle(testServer.rebootInstances),
				"RunInstances":      query.Handle(testServer.runInstances),
				"StartInstances":    query.Handle(testServer.startInstances),
				"StopInstances":     query.Handle(testServer.stopInstances),
			}),
			sts.Service(),
		},
		Verify:  allow,
		PageKey: []byte("key"),
		Log:     slog.New(slog.NewTextHandler(log, nil)),
	}
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// TestScripts runs the scripts in testdata: a line "METHOD target [body]", a
// line "----", and the answer. -update rewrites the answers.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("testdata has no scripts")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			h := newTestHandler(io.Discard)
			var got []string
			for script := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
				request, _, _ := strings.Cut(script, "\n----")
				lines := strings.Split(request, "\n")
				f := strings.Fields(lines[len(lines)-1])
				body := ""
				if len(f) > 2 {
					body = f[2]
				}
				r := httptest.NewRequest(f[0], f[1], strings.NewReader(body))
				if body != "" {
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				answer := w.Body.String()
				if id := uuid.FindString(answer); id == "" || id != w.Header().Get("x-amzn-RequestId") {
					t.Errorf("%s: request id %q in the answer, %q in the header", request, id, w.Header().Get("x-amzn-RequestId"))
				}
				if ct := w.Header().Get("Content-Type"); ct != "text/xml;charset=UTF-8" {
					t.Errorf("%s: Content-Type %q", request, ct)
				}
				answer = uuid.ReplaceAllString(strings.Replace(answer, "\n", "", 1), "ID")
				got = append(got, fmt.Sprintf("%s\n----\n%d %s", request, w.Code, answer))
			}
			text := strings.Join(got, "\n\n") + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if text != string(raw) {
				t.Errorf("got\n%s\nwant\n%s", text, raw)
			}
		})
	}
}

// TestInternalErrors checks that what went wrong inside is in the log, with
// the request id, and not in the answer.
func TestInternalErrors(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"StopInstances", "RebootInstances"} {
		var log bytes.Buffer
		h := newTestHandler(&log)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/?InstanceId.1=i-1&Action="+action, nil))
		if w.Code != 500 || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %s", action, w.Code, w.Body)
		}
		id := w.Header().Get("x-amzn-RequestId")
		if !strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), "req="+id) {
			t.Errorf("%s: request %s logged as %s", action, id, &log)
		}
	}
}

func TestSignatureFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reason sigv4.Reason
		query  string
		status int
		code   string
	}{
		{sigv4.Missing, "Action=DescribeTags", 403, "MissingAuthenticationToken"},
		{sigv4.Incomplete, "Action=DescribeTags", 400, "IncompleteSignature"},
		{sigv4.UnknownKey, "Action=DescribeTags", 401, "AuthFailure"},
		{sigv4.BadSignature, "Action=DescribeTags", 401, "AuthFailure"},
		{sigv4.Expired, "Action=DescribeTags", 400, "RequestExpired"},
		{sigv4.BadSignature, "Action=Nonsense", 401, "AuthFailure"}, // strangers learn nothing
		{sigv4.UnknownKey, "Action=GetCallerIdentity", 403, "InvalidClientTokenId"},
		{sigv4.BadSignature, "Action=GetCallerIdentity", 403, "SignatureDoesNotMatch"},
		{sigv4.Expired, "Action=GetCallerIdentity", 403, "SignatureDoesNotMatch"},
	} {
		h := newTestHandler(io.Discard)
		h.Verify = func(*http.Request, []byte) (sigv4.Identity, error) {
			return sigv4.Identity{}, &sigv4.Error{Reason: tt.reason, Detail: "because"}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/?"+tt.query, nil))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), "<Code>"+tt.code+"</Code>") {
			t.Errorf("reason %d of %s: %d %s, want %d %s", tt.reason, tt.query, w.Code, w.Body, tt.status, tt.code)
		}
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	form := "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name, contentType string
		body              io.Reader
		status            int
		code              string
	}{
		{"form", form, strings.NewReader("Action=DescribeTags"), 200, ""},
		{"form with a charset", form + "; charset=utf-8", strings.NewReader("Action=DescribeTags"), 200, ""},
		{"no type", "", strings.NewReader("Action=DescribeTags"), 200, ""},
		{"json", "application/json", strings.NewReader("{}"), 400, "MalformedQueryString"},
		{"large", form, strings.NewReader(strings.Repeat("a", 1<<20+1)), 413, "RequestEntityTooLarge"},
		{"truncated", form, io.MultiReader(strings.NewReader("Action=Descr"), broken{}), 400, "IncompleteBody"},
		{"user data of 16 KiB, every byte escaped", form, strings.NewReader("Action=RunInstances&MinCount=1&MaxCount=1&TagSpecification.1.ResourceType=x&UserData=" + strings.Repeat("%2B", 16<<10*4/3)), 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", tt.body)
			r.Header.Set("Content-Type", tt.contentType)
			w := httptest.NewRecorder()
			newTestHandler(io.Discard).ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.code) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestRequestHash(t *testing.T) {
	t.Parallel()
	h := newTestHandler(io.Discard)
	hash := func(form string) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/?Action=DescribeTags&"+form, nil))
		_, after, ok := strings.Cut(w.Body.String(), "<nextToken>")
		if !ok {
			t.Fatalf("%s: %s", form, w.Body)
		}
		return after[:64]
	}
	first := hash("MaxResults=5&NextToken=a&Version=2016-11-15&X-Amz-Date=1")
	for _, same := range []string{
		"NextToken=a&MaxResults=5&Version=2014-10-01",
		"NextToken=a&MaxResults=5&Timestamp=2&AWSAccessKeyId=x&Signature=y",
		"NextToken=a&MaxResults=5&Filter.1.Name=",
	} {
		if hash(same) != first {
			t.Errorf("%s hashes differently", same)
		}
	}
	for _, other := range []string{"MaxResults=5&NextToken=b", "MaxResults=5", "NextToken=5&MaxResults=5"} {
		if hash(other) == first {
			t.Errorf("%s hashes alike", other)
		}
	}
}

// FuzzHandler throws whole requests at the handler: it must answer XML with a
// request id and never fail inside.
func FuzzHandler(f *testing.F) {
	f.Add("Action=RunInstances&MinCount=1&MaxCount=1&TagSpecification.1.Tag.1.Key=a", "")
	f.Add("Action=CreateTags&ResourceId.0=a&Tag.0.Key=b&DryRun=maybe", "Version=2011-06-15")
	f.Add("Action=GetCallerIdentity&Version=1-1-1&Foo=1", "")
	h := newTestHandler(io.Discard)
	f.Fuzz(func(t *testing.T, query, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		known := strings.Contains(query+body, "Instances") // those whose actions fail by design
		if !uuid.MatchString(w.Body.String()) || (w.Code >= 500 && !known) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// TestLargeAnswer checks that an answer sent in pieces is whole.
func TestLargeAnswer(t *testing.T) {
	t.Parallel()
	for _, readyMade := range []bool{false, true} {
		out := sampleAnswer(200, readyMade)
		h := newTestHandler(io.Discard)
		h.Services = []*query.Service{query.NewService(query.Service{
			Name: "ec2", Version: wire.Version, Namespace: "http://ec2.amazonaws.com/doc/", Known: wire.Known,
		}, describer{out}, map[string]query.Action[describer]{"DescribeInstances": query.Handle(describer.describeInstances)})}
		srv := httptest.NewServer(h)
		resp, err := http.Get(srv.URL + "/?Action=DescribeInstances")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		srv.Close()
		_, got, _ := bytes.Cut(body, []byte("</requestId>"))
		want := string(out.AppendXML(nil)) + "</DescribeInstancesResponse>"
		if err != nil || string(got) != want {
			t.Errorf("ready made %v: %d bytes, want %d; %v", readyMade, len(got), len(want), err)
		}
	}
}
