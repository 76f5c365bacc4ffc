package query_test

import (
	"bytes"
	"context"
	"io"
	"net/http/httptest"
	"os/exec"
	"testing"

	"eucad/api/sigv4"
)

// TestBoto3 has AWS's Python client call the handler over HTTP: signed,
// presigned, and signed with version 2.
func TestBoto3(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3"
	if exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("no " + python + " with boto3: install python3-boto3 to run this")
	}
	v := &sigv4.Verifier{Key: func(context.Context, string) (sigv4.Credential, error) {
		return sigv4.Credential{Secret: "secret", AccountID: "123456789012"}, nil
	}}
	h := newTestHandler(io.Discard)
	h.Verify = v.Verify
	srv := httptest.NewServer(h)
	defer srv.Close()
	var errs bytes.Buffer
	cmd := exec.Command(python, "testdata/client.py", srv.URL)
	cmd.Env = []string{"HOME=" + t.TempDir(), "LANG=C.UTF-8"}
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("client.py: %v\n%s", err, &errs)
	}
	want := `run 123456789012 True []
dry run 412 36 {'Code': 'DryRunOperation', 'Message': 'Request would have succeeded, but DryRun flag is set.'}
fault 400 36 {'Code': 'InvalidInstanceID.NotFound', 'Message': "The instance ID 'i-<&>' does not exist"}
unserved 400 36 {'Code': 'UnsupportedOperation', 'Message': 'The action CreateVpc is not supported by this cloud.'}
internal 500 36 {'Code': 'InternalError', 'Message': 'An internal error has occurred. The request id tells the operator more: ID'}
presigned 200
v2 200
`
	if got := uuid.ReplaceAllString(string(out), "ID"); got != want {
		t.Errorf("client.py says\n%s\nwant\n%s", got, want)
	}
}
