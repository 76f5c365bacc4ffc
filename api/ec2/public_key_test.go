package ec2

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"eucad/store/cloud"
)

// Keys made by ssh-keygen, and fingerprints of them by
// "openssl rsa -pubout -outform DER | openssl md5 -c" and "ssh-keygen -l".
const (
	rsaLine   = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC9pFrfDbxQ52Fr8UPCUkFypJX71kWJ7Pxfw08+Y5u9eDNJe7cAlzVkg3rfxB1SDNQXr43i7smXaw7RS/5e9EsQDDdZJRaAmzkdUuNnimprtnNFSDKLo7EWyavjkWTzd1Td6Bfy06IUHnw3Je/RBXSdlzLQppBcx59iQNSGnAi/u+HPmpJWx99sxhx6kG0AAFssKMrtoMDaFr5CZOvn+nog/HNLJdrpOqG713eGQrxHFH8TbaHF6ARZpgD4McFfqJv4d06rVE+aN67p2LpIozP8Nr1ozQDYKQqD2afLKN/L/ax4bXyO1LRaAE9cdA23faKk8w2/okjw+/ZB3+x/y87X me@host"
	rsaFinger = "0d:ea:2f:0d:f2:90:94:0a:d3:3c:d7:f4:9c:1d:17:9d"
	rsaSPKI   = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvaRa3w28UOdha/FDwlJBcqSV+9ZFiez8X8NPPmObvXgzSXu3AJc1ZIN638QdUgzUF6+N4u7Jl2sO0Uv+XvRLEAw3WSUWgJs5HVLjZ4pqa7ZzRUgyi6OxFsmr45Fk83dU3egX8tOiFB58NyXv0QV0nZcy0KaQXMefYkDUhpwIv7vhz5qSVsffbMYcepBtAABbLCjK7aDA2ha+QmTr5/p6IPxzSyXa6Tqhu9d3hkK8RxR/E22hxegEWaYA+DHBX6ib+HdOq1RPmjeu6di6SKMz/Da9aM0A2CkKg9mnyyjfy/2seG18jtS0WgBPXHQNt32ipPMNv6JI8Pv2Qd/sf8vO1wIDAQAB"
	rsa4716   = `---- BEGIN SSH2 PUBLIC KEY ----
Comment: "2048-bit RSA\
 of mine: it goes on"
AAAAB3NzaC1yc2EAAAADAQABAAABAQC9pFrfDbxQ52Fr8UPCUkFypJX71kWJ7Pxfw08+Y5
u9eDNJe7cAlzVkg3rfxB1SDNQXr43i7smXaw7RS/5e9EsQDDdZJRaAmzkdUuNnimprtnNF
SDKLo7EWyavjkWTzd1Td6Bfy06IUHnw3Je/RBXSdlzLQppBcx59iQNSGnAi/u+HPmpJWx9
9sxhx6kG0AAFssKMrtoMDaFr5CZOvn+nog/HNLJdrpOqG713eGQrxHFH8TbaHF6ARZpgD4
McFfqJv4d06rVE+aN67p2LpIozP8Nr1ozQDYKQqD2afLKN/L/ax4bXyO1LRaAE9cdA23fa
Kk8w2/okjw+/ZB3+x/y87X
---- END SSH2 PUBLIC KEY ----
`
	edLine   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAhvrfiaIWsvLTKFNUzQ+1NWaBQoa6TTw+xX/0/kPDW4 me@host"
	edFinger = "synYTjOcgf1A7Wlgj2pLpsX7+U5Nyo+82B+GFYPvMT0="
	p256Line = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBLKCBxs3Z7UWwSGUk+XU6XCK54mAXQnCntejtAHnqo38Qp9cD2HA6XIGMlQhBHgmVa7gJhhsXmqsj1v2SCFopuI= me@host"
)

func TestParsePublicKey(t *testing.T) {
	der, err := base64.StdEncoding.DecodeString(rsaSPKI)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSuffix(rsaLine, " me@host")
	for _, tt := range []struct {
		name, in          string
		kind, finger, pub string
	}{
		{"OpenSSH", rsaLine, "rsa", rsaFinger, line},
		{"OpenSSH without a comment", line, "rsa", rsaFinger, line},
		{"OpenSSH with line ends", "\r\n" + rsaLine + "\r\n", "rsa", rsaFinger, line},
		{"OpenSSH, commented out lines", "# mine\n" + rsaLine + "\n", "rsa", rsaFinger, line},
		{"RFC 4716", rsa4716, "rsa", rsaFinger, line},
		{"RFC 4716 by Windows", strings.ReplaceAll(rsa4716, "\n", "\r\n"), "rsa", rsaFinger, line},
		{"DER", string(der), "rsa", rsaFinger, line},
		{"DER in base64", rsaSPKI, "rsa", rsaFinger, line},
		{"DER in lines of base64", rsaSPKI[:64] + "\n" + rsaSPKI[64:], "rsa", rsaFinger, line},
		{"PEM", "-----BEGIN PUBLIC KEY-----\n" + rsaSPKI + "\n-----END PUBLIC KEY-----\n", "rsa", rsaFinger, line},
		{"ED25519", edLine, "ed25519", edFinger, strings.TrimSuffix(edLine, " me@host")},
	} {
		key, err := parsePublicKey([]byte(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		k, err := keyPairOf(key)
		if err != nil || k.Type != tt.kind || k.Fingerprint != tt.finger || k.PublicKey != tt.pub {
			t.Errorf("%s: %+v, %v", tt.name, k, err)
		}
	}
}

func TestParsePublicKeyRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":       "",
		"words":         "let me in",
		"cut":           rsaLine[:100],
		"ECDSA":         p256Line,
		"two keys":      rsaLine + "\n" + edLine,
		"options":       `command="rm -rf /" ` + rsaLine,
		"private":       "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
		"certificate":   "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
		"RFC 4716 open": strings.TrimSuffix(strings.TrimSpace(rsa4716), "---- END SSH2 PUBLIC KEY ----"),
		"DER cut":       "\x30\x82",
		"too long":      rsaLine + strings.Repeat(" ", maxPublicKey),
	} {
		key, err := parsePublicKey([]byte(in))
		if err == nil {
			_, err = keyPairOf(key)
		}
		if cloud.FaultCode(err) != "InvalidKey.Format" {
			t.Errorf("%s: %v, want InvalidKey.Format", name, err)
		}
	}
}

// TestNewKeyPair checks that the halves of a new pair belong together, that
// the fingerprints are EC2's, and that OpenSSH takes the private one.
func TestNewKeyPair(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"", "rsa", "ed25519"} {
		k, secret, err := newKeyPair(kind)
		if err != nil {
			t.Fatal(err)
		}
		private, err := ssh.ParseRawPrivateKey([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		var public crypto.PublicKey
		var finger string
		switch p := private.(type) {
		case *rsa.PrivateKey:
			der, err := x509.MarshalPKCS8PrivateKey(p)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha1.Sum(der)
			public, finger = &p.PublicKey, colonHex(sum[:])
			if block, _ := pem.Decode([]byte(secret)); block.Type != "RSA PRIVATE KEY" || p.N.BitLen() != rsaBits || k.Type != "rsa" {
				t.Errorf("%q: a %s of %d bits, type %s", kind, block.Type, p.N.BitLen(), k.Type)
			}
		case *ed25519.PrivateKey:
			same, err := keyPairOf(p.Public())
			if err != nil {
				t.Fatal(err)
			}
			public, finger = p.Public(), same.Fingerprint
			if k.Type != "ed25519" {
				t.Errorf("type %s, want ed25519", k.Type)
			}
		}
		same, err := keyPairOf(public)
		if err != nil || same.PublicKey != k.PublicKey || k.Fingerprint != finger {
			t.Errorf("%q: %+v does not belong to the private half: %+v, %v", kind, k, same, err)
		}
		openssh(t, k.PublicKey, secret)
	}
}

// openssh checks that ssh-keygen finds the public half in the private one.
func openssh(t *testing.T, public, private string) {
	t.Helper()
	tool, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Log("there is no ssh-keygen to ask")
		return
	}
	cmd := exec.Command(tool, "-y", "-f", "/dev/stdin")
	cmd.Stdin = strings.NewReader(private)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if strings.Contains(errs.String(), "UNPROTECTED") {
		t.Log("ssh-keygen takes no key from a pipe here")
		return
	}
	if err != nil || !strings.HasPrefix(string(out), public) {
		t.Errorf("ssh-keygen says %q %s, %v, want %s", out, &errs, err, public)
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, s := range []string{rsaLine, rsaSPKI, rsa4716, edLine, p256Line, "-----BEGIN PUBLIC KEY-----\n" + rsaSPKI + "\n-----END PUBLIC KEY-----\n", "\x30\x82\x01\x22", "ssh-dss AAAA"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		key, err := parsePublicKey(in)
		if err == nil {
			var k cloud.KeyPair
			if k, err = keyPairOf(key); err == nil {
				again, err := parsePublicKey([]byte(k.PublicKey))
				if err != nil {
					t.Fatalf("%s cannot be read again: %v", k.PublicKey, err)
				}
				if same, err := keyPairOf(again); err != nil || same != k {
					t.Fatalf("%+v became %+v, %v", k, same, err)
				}
			}
		}
		if err != nil && cloud.FaultCode(err) != "InvalidKey.Format" {
			t.Fatalf("%v, want InvalidKey.Format", err)
		}
	})
}
