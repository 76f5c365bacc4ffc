package peer

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestOpenCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	var cas [4]*CA
	var wg sync.WaitGroup
	for i := range cas { // all start at once, for the first time
		wg.Go(func() {
			var err error
			if cas[i], err = OpenCA(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, ca := range cas {
		if ca == nil || ca.Fingerprint() != cas[0].Fingerprint() {
			t.Fatal("two CAs came of one directory")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("directory = %v, %v", entries, err)
	}
	st, err := os.Stat(filepath.Join(dir, caFile))
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("mode = %v, %v", st.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, caFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(dir); err == nil { // never replaced by a new one
		t.Error("a damaged CA was opened")
	}
}

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	ca, err := OpenCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := openKey(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := newCSR(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []Identity{fe1, head1, node1} {
		der, err := ca.Issue(csr, id, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		for now, ok := range map[time.Duration]bool{
			-skew + time.Second: true, -skew - 2*time.Second: false, 59 * time.Minute: true, 61 * time.Minute: false,
		} {
			got, err := verify(leaf, ca.cert, time.Now().Add(now), x509.ExtKeyUsageServerAuth)
			if (err == nil) != ok || ok && got != id {
				t.Errorf("verify after %v = %v, %v", now, got, err)
			}
		}
	}
	if _, err := ca.Issue(csr, Identity{Role: Node}, time.Hour); err == nil {
		t.Error("a certificate for nobody")
	}
	csr[len(csr)-1] ^= 1
	if _, err := ca.Issue(csr, node1, time.Hour); err == nil {
		t.Error("a certificate without proof of the key")
	}
}
