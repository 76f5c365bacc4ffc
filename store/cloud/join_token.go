package cloud

import "time"

// A JoinToken is what is kept of a token by which a host may join the cloud:
// enough to know it again, not enough to make it.
type JoinToken struct {
	ID      string
	Hash    string // SHA-256 of the secret, in hex
	Role    string
	Zone    string
	Created time.Time
	Expires time.Time
	Used    time.Time // zero: not yet
	UsedBy  string    // identity and key of the host
	Revoked time.Time // zero: no
}
