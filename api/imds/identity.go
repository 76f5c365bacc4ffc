package imds

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"eucad/store/cloud"
)

// A Signer signs identity documents, so that a third party who has the cloud's
// certificate can tell which instance speaks to it.
type Signer struct {
	Cert *x509.Certificate
	key  *rsa.PrivateKey
}

// LoadSigner reads a key and its certificate from a PEM file, which it makes when
// it isn't there. All hosts of a cloud should have the same one.
func LoadSigner(file string, now time.Time) (*Signer, error) {
	b, err := loadOrMake(file, func() ([]byte, error) { return NewSigner(now) })
	if err != nil {
		return nil, err
	}
	s, err := ParseSigner(b)
	if err != nil {
		return nil, fmt.Errorf("identity key %s: %w", file, err)
	}
	return s, nil
}

// NewSigner makes a key and its certificate, as PEM.
func NewSigner(now time.Time) ([]byte, error) {
	// RSA with 2048 bits is what "rsa2048" promises.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	// The certificate lasts as long as the cloud, as EC2's do: verifiers
	// keep a copy, and nothing would tell them of a new one.
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetInt64(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "eucad instance identity"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(100, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...), nil
}

// ParseSigner reads what NewSigner made.
func ParseSigner(b []byte) (*Signer, error) {
	var s Signer
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		var err error
		switch block.Type {
		case "CERTIFICATE":
			s.Cert, err = x509.ParseCertificate(block.Bytes)
		case "PRIVATE KEY":
			var key any
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
			s.key, _ = key.(*rsa.PrivateKey)
		}
		if err != nil {
			return nil, err
		}
	}
	if s.Cert == nil || s.key == nil || !s.key.PublicKey.Equal(s.Cert.PublicKey) {
		return nil, errors.New("wants an RSA key and its certificate, in PEM")
	}
	return &s, nil
}

// identity is the folder of the document and its signatures.
func (s *server) identity(m cloud.Metadata) entry {
	doc := func() ([]byte, error) { return document(m) }
	kids := []entry{{name: "document", body: doc}}
	if s.signer != nil {
		signed := func(how func([]byte) ([]byte, error)) func() ([]byte, error) {
			return func() ([]byte, error) {
				b, err := doc()
				if err != nil {
					return nil, err
				}
				if b, err = how(b); err != nil {
					return nil, err
				}
				return wrap(b), nil
			}
		}
		// EC2 signs pkcs7 by DSA and SHA-1, which nobody should trust any
		// more; the format is the same with RSA.
		kids = append(kids,
			entry{name: "pkcs7", body: signed(s.signer.cms)},
			entry{name: "rsa2048", body: signed(s.signer.cms)},
			entry{name: "signature", body: signed(s.signer.sign)})
	}
	return folder("instance-identity", kids...)
}

// document is EC2's instance identity document; its members are in the order
// of their names, as there.
func document(m cloud.Metadata) ([]byte, error) {
	d := struct {
		AccountID               string   `json:"accountId"`
		Architecture            string   `json:"architecture"`
		AvailabilityZone        string   `json:"availabilityZone"`
		BillingProducts         []string `json:"billingProducts"`
		DevpayProductCodes      []string `json:"devpayProductCodes"`
		ImageID                 string   `json:"imageId"`
		InstanceID              string   `json:"instanceId"`
		InstanceType            string   `json:"instanceType"`
		KernelID                *string  `json:"kernelId"`
		MarketplaceProductCodes []string `json:"marketplaceProductCodes"`
		PendingTime             string   `json:"pendingTime"`
		PrivateIP               string   `json:"privateIp"`
		RamdiskID               *string  `json:"ramdiskId"`
		Region                  string   `json:"region"`
		Version                 string   `json:"version"`
	}{
		AccountID: m.AccountID, Architecture: m.Arch, AvailabilityZone: m.Zone, ImageID: m.ImageID,
		InstanceID: m.InstanceID, InstanceType: m.Type, KernelID: orNull(m.KernelID),
		PendingTime: m.Launched.UTC().Format(time.RFC3339), RamdiskID: orNull(m.RamdiskID),
		Region: m.Region, Version: "2017-09-30",
	}
	if len(m.Interfaces) > 0 {
		d.PrivateIP = at(m.Interfaces[0].PrivateIPs, 0)
	}
	return json.MarshalIndent(d, "", "  ")
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// wrap is base64 in lines of 76, as openssl's tools want it.
func wrap(b []byte) []byte {
	var out strings.Builder
	for s := base64.StdEncoding.EncodeToString(b); s != ""; {
		n := min(len(s), 76)
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(s[:n])
		s = s[n:]
	}
	return []byte(out.String())
}

// sign returns the RSA signature (PKCS #1 v1.5) of doc's SHA-256.
func (s *Signer) sign(doc []byte) ([]byte, error) {
	sum := sha256.Sum256(doc)
	return rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
}

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidRSA        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
)

// The parts of RFC 2315 (PKCS #7), section 9, that a signed document has.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content any `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version    int
		Algorithms []pkix.AlgorithmIdentifier `asn1:"set"`
		Content    contentInfo
		Signers    []signerInfo `asn1:"set"`
	}
	signerInfo struct {
		Version   int
		Issuer    issuerSerial
		Digest    pkix.AlgorithmIdentifier
		Algorithm pkix.AlgorithmIdentifier
		Signature []byte
	}
	issuerSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
)

// cms returns the document and its signature as PKCS #7. As on EC2 the
// certificate isn't in it: who verifies must have it from elsewhere.
func (s *Signer) cms(doc []byte) ([]byte, error) {
	signature, err := s.sign(doc)
	if err != nil {
		return nil, err
	}
	digest := pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}
	return asn1.Marshal(contentInfo{oidSignedData, signedData{
		Version:    1,
		Algorithms: []pkix.AlgorithmIdentifier{digest},
		Content:    contentInfo{oidData, doc},
		Signers: []signerInfo{{
			Version:   1,
			Issuer:    issuerSerial{asn1.RawValue{FullBytes: s.Cert.RawIssuer}, s.Cert.SerialNumber},
			Digest:    digest,
			Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue},
			Signature: signature,
		}},
	}})
}
