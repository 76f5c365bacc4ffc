package sts_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"eucad/api/query"
	"eucad/api/sigv4"
	"eucad/api/sts"
)

// TestAWSCLI asks with AWS's own command, over HTTP and signed.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	const aws = "/usr/bin/aws"
	if _, err := os.Stat(aws); err != nil {
		t.Skip("no /usr/bin/aws: install awscli to run this")
	}
	v := &sigv4.Verifier{Key: func(_ context.Context, id string) (sigv4.Credential, error) {
		if id != "AKIAEXAMPLE" {
			return sigv4.Credential{}, sigv4.ErrNoKey
		}
		return sigv4.Credential{Secret: "right", AccountID: "123456789012"}, nil
	}}
	srv := httptest.NewServer(&query.Handler{Services: []*query.Service{sts.Service()}, Verify: v.Verify})
	defer srv.Close()
	for _, tt := range []struct{ key, secret, want string }{
		{"AKIAEXAMPLE", "right", "123456789012\tarn:aws:iam::123456789012:root\t123456789012"},
		{"AKIAEXAMPLE", "wrong", "An error occurred (SignatureDoesNotMatch) when calling the GetCallerIdentity operation"},
		{"AKIAOTHER", "right", "An error occurred (InvalidClientTokenId) when calling the GetCallerIdentity operation"},
	} {
		cmd := exec.Command(aws, "--endpoint-url", srv.URL, "--region", "eucad-1", "--output", "text", "sts", "get-caller-identity")
		cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "AWS_ACCESS_KEY_ID=" + tt.key, "AWS_SECRET_ACCESS_KEY=" + tt.secret}
		out, _ := cmd.CombinedOutput() // the error is in the output
		if !strings.Contains(string(out), tt.want) {
			t.Errorf("aws with %s, %s says %s, want %s", tt.key, tt.secret, out, tt.want)
		}
	}
}
