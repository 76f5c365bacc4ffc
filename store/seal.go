package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// A sealer encrypts secrets with a key that lies in a file beside the store,
// so that a copy of the database alone gives nothing away.
type sealer struct{ aead cipher.AEAD }

// openSealer reads the key from the file name, or makes both.
func openSealer(name string) (sealer, error) {
	key, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		rand.Read(key)
		err = os.WriteFile(name, key, 0o600)
	}
	if err != nil {
		return sealer{}, fmt.Errorf("key of the store: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, fmt.Errorf("key of the store in %s: %w", name, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}, err
}

// seal encrypts secret; what must be said again to open it.
func (s sealer) seal(secret, what string) []byte {
	return s.aead.Seal(nil, nil, []byte(secret), []byte(what))
}

func (s sealer) open(sealed []byte, what string) (string, error) {
	b, err := s.aead.Open(nil, nil, sealed, []byte(what))
	if err != nil {
		return "", fmt.Errorf("secret of %s: the key beside the store does not fit: %w", what, err)
	}
	return string(b), nil
}
