package ec2

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"testing"

	"eucad/api/query"
	"eucad/api/sigv4"
	"eucad/store"
)

// TestBoto3 has AWS's Python client call every action that is served, over
// HTTP and signed. Before each call instances reach the state that they are on
// the way to, so that the client's waiters find what they wait for.
func TestBoto3(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3"
	if exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("no " + python + " with boto3: install python3-boto3 to run this")
	}
	c := newSite(t)
	c.console = []byte("login: é<&>")
	var id, secret string
	c.write(func(tx store.Tx) error {
		k, s, err := c.db.NewAccessKey(c.ctx(), tx, c.account["alice"])
		id, secret = k.ID, s
		return err
	})
	v := &sigv4.Verifier{Key: func(ctx context.Context, key string) (cred sigv4.Credential, err error) {
		err = c.db.Read(ctx, func(rx store.Rx) error {
			k, secret, ok, err := c.db.AccessKey(ctx, rx, key)
			if err == nil && !ok {
				err = sigv4.ErrNoKey
			}
			cred = sigv4.Credential{Secret: secret, AccountID: k.AccountID}
			return err
		})
		return cred, err
	}}
	h := &query.Handler{Services: []*query.Service{c.srv.Service()}, PageKey: []byte("pages"), Verify: v.Verify}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.db.Write(r.Context(), settle); err != nil {
			t.Errorf("settle: %v", err)
		}
		h.ServeHTTP(w, r)
	}))
	defer srv.Close()
	cmd := exec.Command(python, append([]string{"testdata/client.py", srv.URL}, slices.Sorted(maps.Keys(actions))...)...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "LANG=C.UTF-8", "AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + secret,
		"ACCOUNT=" + c.account["alice"], "IMAGE=" + c.random["ami-#1"], "SNAPSHOT=" + c.random["snap-#1"]}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("client.py: %v\n%s", err, &errs)
	}
}
