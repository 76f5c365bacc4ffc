package sigv4_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"eucad/api/sigv4"
)

// TestBotocore sends requests that botocore signed, in every way it knows for
// Query APIs, over real HTTP.
func TestBotocore(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("/usr/bin/python3")
	if err != nil {
		t.Skip("no /usr/bin/python3: install python3-botocore to run this")
	}
	if exec.Command(python, "-c", "import botocore").Run() != nil {
		t.Skip("python has no botocore: install python3-botocore to run this")
	}
	v := &sigv4.Verifier{Key: func(_ context.Context, id string) (sigv4.Credential, error) {
		switch id {
		case "AKIAONE":
			return sigv4.Credential{Secret: "s3cr+t/é", AccountID: "111111111111"}, nil
		case "ASIATEMP":
			return sigv4.Credential{Secret: "temporary", AccountID: "222222222222", Token: "to/ken+=="}, nil
		}
		return sigv4.Credential{}, sigv4.ErrNoKey
	}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		who, err := v.Verify(r, body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		io.WriteString(w, who.AccessKeyID+" "+who.AccountID)
	}))
	defer srv.Close()
	var errs bytes.Buffer
	cmd := exec.Command(python, "testdata/sign.py", srv.URL)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sign.py: %v\n%s", err, &errs)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 48 {
		t.Errorf("%d requests came back, want 48", len(lines))
	}
	for _, line := range lines {
		name, got, _ := strings.Cut(line, "\t")
		want := "200 AKIAONE 111111111111"
		if strings.Contains(name, "token") {
			want = "200 ASIATEMP 222222222222"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
