package imds

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"crypto/x509"
)

// document and signatures are as EC2's: openssl verifies them by the commands
// that EC2's user guide gives ("Verify the instance identity document").
func TestIdentity(t *testing.T) {
	t.Parallel()
	h := serve(sample(), launched)
	get := func(name string) []byte {
		return []byte(body(ask(h, "GET", "/latest/dynamic/instance-identity/"+name)))
	}
	doc := get("document")
	var d map[string]any
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"instanceId": "i-0123456789abcdef0", "region": "us-east-1", "availabilityZone": "us-east-1a", "accountId": "123456789012",
		"privateIp": "172.31.0.10", "pendingTime": "2026-11-24T10:00:00Z", "kernelId": "aki-01234567", "billingProducts": nil,
	} {
		if got, ok := d[key]; !ok || got != want {
			t.Errorf("document: %s = %v, want %v", key, got, want)
		}
	}
	signature, err := base64.StdEncoding.DecodeString(string(get("signature")))
	if err != nil {
		t.Fatal(err)
	}
	if err := sameSigner().Cert.CheckSignature(x509.SHA256WithRSA, doc, signature); err != nil {
		t.Errorf("signature: %v", err)
	}

	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed: PKCS #7 not verified")
	}
	dir := t.TempDir()
	cert := filepath.Join(dir, "cert")
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sameSigner().Cert.Raw}))
	for _, name := range []string{"pkcs7", "rsa2048"} {
		in := filepath.Join(dir, name)
		write(t, in, []byte("-----BEGIN PKCS7-----\n"+string(get(name))+"\n-----END PKCS7-----\n"))
		cmd := exec.Command("openssl", "smime", "-verify", "-binary", "-in", in, "-inform", "PEM", "-certfile", cert, "-noverify")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if out, err := cmd.Output(); err != nil || !bytes.Equal(out, doc) {
			t.Errorf("%s: %v %s\nsigned %q\nwant %q", name, err, &errs, out, doc)
		}
	}
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Keys are made once, for their owner only, and a spoilt file is not replaced.
func TestKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	a, err := LoadTokenKey(file)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := LoadTokenKey(file); err != nil || !bytes.Equal(a, b) || len(a) != tokenKeySize {
		t.Errorf("token key: %x, then %x, %v", a, b, err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("token key: %v, mode %v", err, fi.Mode())
	}
	write(t, file, []byte("short"))
	if _, err := LoadTokenKey(file); err == nil {
		t.Error("token key: a short file was accepted")
	}

	file = filepath.Join(dir, "identity")
	s, err := LoadSigner(file, launched)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := LoadSigner(file, launched); err != nil || !again.Cert.Equal(s.Cert) {
		t.Errorf("signer: another one, %v", err)
	}
	write(t, file, []byte("nothing"))
	if _, err := LoadSigner(file, launched); err == nil {
		t.Error("signer: a spoilt file was accepted")
	}
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Errorf("%d files, want 2", len(files))
	}
}
