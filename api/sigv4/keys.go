package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
)

// maxKeys bounds the cache of derived keys: one is used per access key, day,
// region and service.
const maxKeys = 4096

// keyCache remembers signing keys, which cost four HMACs each. Only keys that
// have verified a request get in, so strangers cannot fill it.
type keyCache struct {
	mu   sync.Mutex
	keys map[keyID][]byte
}

type keyID struct{ secret, date, region, service string }

// derive returns the signing key for s, and whether it is not in the cache yet.
func (c *keyCache) derive(secret string, s *signature) (key []byte, fresh bool) {
	c.mu.Lock()
	key = c.keys[keyID{secret, s.date, s.region, s.service}]
	c.mu.Unlock()
	if key != nil {
		return key, false
	}
	key = hmacSHA256([]byte("AWS4"+secret), []byte(s.date))
	for _, part := range []string{s.region, s.service, terminator} {
		key = hmacSHA256(key, []byte(part))
	}
	return key, true
}

// keep puts a key into the cache. A full cache starts over: it fills again at
// once with the keys in use.
func (c *keyCache) keep(secret string, s *signature, key []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil || len(c.keys) >= maxKeys {
		c.keys = make(map[keyID][]byte)
	}
	c.keys[keyID{secret, s.date, s.region, s.service}] = key
}

func hmacSHA256(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}
