package sigv4

import (
	"errors"
	"fmt"
)

// A Credential is a secret and whose it is.
type Credential struct {
	Secret    string
	AccountID string
	Token     string // session token that must come with the key; "" for a permanent key
}

// ErrNoKey is what Verifier.Key returns for an access key that does not exist
// or is not active.
var ErrNoKey = errors.New("no such access key")

// An Identity is who signed a request.
type Identity struct {
	AccessKeyID string
	AccountID   string
}

// A Reason is why a request was refused. Each API has its own code for it.
type Reason int

// The reasons.
const (
	Missing      Reason = iota // not signed at all
	Incomplete                 // a part of the signature is missing or malformed
	UnknownKey                 // no such access key
	BadSignature               // signed with another secret, or changed on the way
	Expired                    // too old, or too far in the future
)

// An Error tells why a request was refused. Detail may be shown to the caller.
type Error struct {
	Reason Reason
	Detail string
}

func (e *Error) Error() string { return e.Detail }

func refuse(r Reason, format string, args ...any) error {
	return &Error{r, fmt.Sprintf(format, args...)}
}
