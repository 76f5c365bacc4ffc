package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	// CertificateLife is how long a host's certificate is good. Half of it is
	// how long a front end may be away before anything is lost.
	CertificateLife = 7 * 24 * time.Hour

	// caLife is long since a new CA means that every host joins again.
	caLife = 30 * 365 * 24 * time.Hour

	// skew is how far apart the clocks of hosts may be.
	skew = 5 * time.Minute

	caFile  = "ca.pem"
	keyFile = "host.key"
)

// A CA signs the certificates of a cloud's hosts.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenCA returns the CA kept in dir, and makes it when there is none.
func OpenCA(dir string) (*CA, error) {
	path := filepath.Join(dir, caFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if b, err = newCA(time.Now()); err == nil {
			b, err = makeSecret(path, b)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	ca, err := parseCA(b)
	if err != nil {
		return nil, fmt.Errorf("read CA in %s: %w", path, err)
	}
	return ca, nil
}

// newCA returns key and certificate in one piece, so that no crash parts them.
func newCA(now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "eucad CA"},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return append(encodeKey(key), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...), nil
}

func parseCA(b []byte) (*CA, error) {
	key, rest, err := decodeKey(b)
	if err != nil {
		return nil, err
	}
	p, _ := pem.Decode(rest)
	if p == nil || p.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate")
	}
	cert, err := x509.ParseCertificate(p.Bytes)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("key and certificate do not belong together")
	}
	return &CA{cert, key}, nil
}

// Fingerprint returns the SHA-256 of the CA's certificate.
func (ca *CA) Fingerprint() [sha256.Size]byte { return sha256.Sum256(ca.cert.Raw) }

// Issue returns a certificate (DER) for the key that signed csr (DER), for id.
// Nothing else of csr is looked at.
func (ca *CA) Issue(csr []byte, id Identity, lifetime time.Duration) ([]byte, error) {
	pub, err := checkCSR(csr)
	if err != nil {
		return nil, err
	}
	if err := id.Check(); err != nil {
		return nil, err
	}
	uri, err := url.Parse(id.String())
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: id.Name},
		URIs:         []*url.URL{uri},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	return x509.CreateCertificate(rand.Reader, t, ca.cert, pub, ca.key)
}

// checkCSR returns the key of a request whose sender has it.
func checkCSR(csr []byte) (*ecdsa.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	pub, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("certificate request: the key is not ECDSA P-256")
	}
	return pub, nil
}

func newCSR(key *ecdsa.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

// verify returns whom a host's certificate states, when ca signed it and it is
// good at the time now for the usage.
func verify(leaf, ca *x509.Certificate, now time.Time, usage x509.ExtKeyUsage) (Identity, error) {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return Identity{}, err
	}
	return identityOf(leaf)
}

// identityOf returns whom the certificate states.
func identityOf(leaf *x509.Certificate) (Identity, error) {
	if len(leaf.URIs) != 1 {
		return Identity{}, fmt.Errorf("the certificate states %d identities", len(leaf.URIs))
	}
	return ParseIdentity(leaf.URIs[0].String())
}

// Serial returns a certificate's serial number as deny lists have it.
func Serial(c *x509.Certificate) string { return c.SerialNumber.Text(16) }

// keyHash names a public key.
func keyHash(pub *ecdsa.PublicKey) (string, error) {
	b, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:]), nil
}

// newSerial returns 127 random bits: positive, as RFC 5280 wants.
func newSerial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

// openKey returns the key in the file, and makes it when there is none.
func openKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if b, err = makeSecret(path, encodeKey(key)); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	key, _, err := decodeKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func encodeKey(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err) // a P-256 key always has this form
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func decodeKey(b []byte) (key *ecdsa.PrivateKey, rest []byte, err error) {
	p, rest := pem.Decode(b)
	if p == nil || p.Type != "PRIVATE KEY" {
		return nil, nil, errors.New("no private key")
	}
	k, err := x509.ParsePKCS8PrivateKey(p.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("the key is not ECDSA")
	}
	return key, rest, nil
}
