package ec2

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"

	"golang.org/x/crypto/ssh"

	"eucad/api/query"
	"eucad/store/cloud"
)

// Limits of keys.
const (
	maxPublicKey = 16 << 10 // bytes of an imported one, in whatever form
	rsaBits      = 2048     // of a created key, as on EC2
	minRSABits   = 1024     // of an imported one, as on EC2
	maxRSABits   = 8192
)

// newKeyPair makes a key of the type and returns it without name, and its
// private half as EC2 gives it: RSA in PKCS #1, ED25519 as OpenSSH keeps it.
func newKeyPair(kind string) (cloud.KeyPair, string, error) {
	if kind == "ed25519" {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return cloud.KeyPair{}, "", err
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			return cloud.KeyPair{}, "", err
		}
		k, err := keyPairOf(public)
		return k, string(pem.EncodeToMemory(block)), err
	}
	private, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return cloud.KeyPair{}, "", err
	}
	k, err := keyPairOf(&private.PublicKey)
	if err != nil {
		return k, "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return k, "", err
	}
	// EC2 User Guide, "Verify the fingerprint of your key pair": of a key that
	// EC2 created it is taken over the private half.
	sum := sha1.Sum(pkcs8)
	k.Fingerprint = colonHex(sum[:])
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}
	return k, string(pem.EncodeToMemory(block)), nil
}

// keyPairOf returns the key pair, without name, of a public key that was
// imported. Only RSA and ED25519 will do, as on EC2.
func keyPairOf(key crypto.PublicKey) (cloud.KeyPair, error) {
	public, err := ssh.NewPublicKey(key)
	if err != nil {
		return cloud.KeyPair{}, badKey("It is none that SSH knows.")
	}
	k := cloud.KeyPair{PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < minRSABits || n > maxRSABits {
			return k, cloud.Faultf("InvalidKey.Format", "An RSA key has %d to %d bits; this one has %d.", minRSABits, maxRSABits, n)
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return k, badKey("Its numbers make no sense.")
		}
		sum := md5.Sum(der)
		k.Type, k.Fingerprint = "rsa", colonHex(sum[:])
	case ed25519.PublicKey:
		sum := sha256.Sum256(public.Marshal())
		k.Type, k.Fingerprint = "ed25519", base64.StdEncoding.EncodeToString(sum[:])
	default:
		return k, badKey("Its type is " + public.Type() + "; RSA and ED25519 will do.")
	}
	return k, nil
}

// parsePublicKey reads a public key in a form that EC2 takes: a line of
// OpenSSH's authorized_keys, RFC 4716, or an SubjectPublicKeyInfo in DER,
// bare, in base64 or in PEM.
func parsePublicKey(material []byte) (crypto.PublicKey, error) {
	if len(material) > maxPublicKey {
		return nil, cloud.Faultf("InvalidKey.Format", "The key has more than %d bytes.", maxPublicKey)
	}
	if len(material) > 0 && material[0] == 0x30 { // DER: a SEQUENCE
		return parseSPKI(material)
	}
	text := strings.TrimSpace(string(material))
	switch {
	case strings.Contains(text, "PRIVATE KEY---"):
		return nil, badKey("It is a private key: never give it away.")
	case strings.HasPrefix(text, "---- BEGIN SSH2 PUBLIC KEY ----"):
		blob, err := parseRFC4716(text)
		if err != nil {
			return nil, err
		}
		return sshKey(ssh.ParsePublicKey(blob))
	case strings.HasPrefix(text, "-----BEGIN "):
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "PUBLIC KEY" {
			return nil, badKey("")
		}
		return parseSPKI(block.Bytes)
	}
	if der, err := query.DecodeBase64(text); err == nil {
		return parseSPKI(der)
	}
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	if err == nil && (len(options) > 0 || len(bytes.TrimSpace(rest)) > 0) {
		return nil, badKey("It must be one key without options.")
	}
	return sshKey(key, err)
}

// parseRFC4716 returns the key inside the lines of an SSH2 public key file;
// its headers ("Comment: …", which may go on after a backslash) say nothing of it.
func parseRFC4716(text string) ([]byte, error) {
	lines := strings.Split(strings.ReplaceAll(text, "\r", ""), "\n")
	var body strings.Builder
	header := false
	for _, line := range lines[1:] {
		line = strings.TrimSpace(line)
		switch {
		case line == "---- END SSH2 PUBLIC KEY ----":
			blob, err := base64.StdEncoding.DecodeString(body.String())
			if err != nil {
				return nil, badKey("Its lines are not base64.")
			}
			return blob, nil
		case header || strings.Contains(line, ":"):
			header = strings.HasSuffix(line, `\`)
		default:
			body.WriteString(line)
		}
	}
	return nil, badKey("Its last line is missing.")
}

func sshKey(key ssh.PublicKey, err error) (crypto.PublicKey, error) {
	if err != nil {
		return nil, badKey("")
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		return c.CryptoPublicKey(), nil
	}
	return nil, badKey("Its type is " + key.Type() + "; RSA and ED25519 will do.")
}

func parseSPKI(der []byte) (crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, badKey("")
	}
	return key, nil
}

// badKey is the Fault of a key that cannot be read; why may be empty.
func badKey(why string) error {
	return cloud.Faultf("InvalidKey.Format", "%s", strings.TrimSpace("Key is not in valid OpenSSH public key format. "+why))
}

// colonHex writes bytes as aa:bb:cc.
func colonHex(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(parts, ":")
}
