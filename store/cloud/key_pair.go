package cloud

import "time"

// A KeyPair lets its owner log in to instances. The private half is never kept.
type KeyPair struct {
	ID          string // "key-…"
	AccountID   string
	Name        string
	Type        string // "rsa" or "ed25519"
	Fingerprint string // as EC2 gives it for the way the pair came to be
	PublicKey   string // one line as in authorized_keys
	Created     time.Time
}
