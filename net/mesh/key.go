package mesh

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// A Key is a private or public key of a host (Curve25519). The zero Key is none.
type Key [32]byte

// NewKey returns a fresh private key.
func NewKey() (Key, error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("make key: %w", err)
	}
	out := Key(k.Bytes())
	// As RFC 7748, section 5, uses it in any case: other programs expect it so.
	out[0] &= 248
	out[31] = out[31]&127 | 64
	return out, nil
}

// ParseKey reads what String returns, as wg(8) does.
func ParseKey(s string) (Key, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != len(Key{}) {
		return Key{}, fmt.Errorf("a key has %d bytes in base64", len(Key{})) // which is not repeated: it may be secret
	}
	return Key(b), nil
}

// Public returns the public key of a private one.
func (k Key) Public() Key {
	p, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic("mesh: " + err.Error()) // only for another length
	}
	return Key(p.PublicKey().Bytes())
}

// String returns the key in base64.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText returns String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParseKey.
func (k *Key) UnmarshalText(b []byte) (err error) {
	*k, err = ParseKey(string(b))
	return err
}
