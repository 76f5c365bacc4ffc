package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	maxTTL       = 21600 // seconds a session may last: six hours, as on EC2
	tokenKeySize = 32    // bytes, as many as the MAC has
	tokenSize    = 8 + sha256.Size
)

// tokens issues and checks session tokens. They carry their end and a MAC over it
// and the instance's id, so nothing is remembered: a token is good after a
// restart and worth nothing to another instance.
type tokens struct {
	key []byte
	now func() time.Time
}

// issue returns a token, 56 characters long as EC2's are, good for ttl seconds.
func (t tokens) issue(instance string, ttl int) string {
	end := t.now().Unix() + int64(ttl)
	b := binary.BigEndian.AppendUint64(make([]byte, 0, tokenSize), uint64(end))
	return base64.URLEncoding.EncodeToString(append(b, t.mac(b, instance)...))
}

// check returns the seconds that are left to the session, if the token is good.
func (t tokens) check(token, instance string) (left int, ok bool) {
	if len(token) != base64.URLEncoding.EncodedLen(tokenSize) {
		return 0, false
	}
	b, err := base64.URLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenSize || !hmac.Equal(b[8:], t.mac(b[:8], instance)) {
		return 0, false
	}
	seconds := int64(binary.BigEndian.Uint64(b)) - t.now().Unix()
	return int(seconds), seconds > 0 && seconds <= maxTTL
}

func (t tokens) mac(end []byte, instance string) []byte {
	h := hmac.New(sha256.New, t.key)
	h.Write(end)
	h.Write([]byte(instance))
	return h.Sum(nil)
}

// LoadTokenKey reads the key for Options.TokenKey from a file, which it makes,
// readable by its owner only, when it isn't there.
func LoadTokenKey(file string) ([]byte, error) {
	key, err := loadOrMake(file, func() ([]byte, error) {
		b := make([]byte, tokenKeySize)
		rand.Read(b)
		return b, nil
	})
	if err == nil && len(key) != tokenKeySize {
		err = fmt.Errorf("metadata token key %s has %d bytes, not %d: remove it, guests will ask for new tokens", file, len(key), tokenKeySize)
	}
	return key, err
}

// loadOrMake returns what the file holds; what make returns, once that is safely
// in the file, when there is none yet.
func loadOrMake(file string, make func() ([]byte, error)) ([]byte, error) {
	b, err := os.ReadFile(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if b, err = make(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	// Link, not rename: of two that start at once, the first one's key stays.
	if err := os.Link(f.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(file)
}
