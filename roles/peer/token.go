package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// A Token lets one host join. It is shown once, on paper or a terminal, and
// never stored.
type Token struct {
	ID     string            // 16 hex digits
	Secret [16]byte          // works once
	CA     [sha256.Size]byte // SHA-256 of the CA's certificate: the host knows the cloud by it
	Role   Role              // what the host will be: for display, the record decides
	Zone   string
}

const (
	tokenPrefix  = "eucad1."
	tokenIDBytes = 8
	tokenSum     = 4
	maxToken     = 1024 // bytes; a real one has about 120
)

// String returns the token as it is printed: an id, the secret, the CA's
// SHA-256, role and zone, and a sum that finds what was lost in copying.
func (t Token) String() string {
	id, _ := hex.DecodeString(t.ID)
	b := append(id, t.Secret[:]...)
	b = append(b, t.CA[:]...)
	b = append(b, string(t.Role)+"/"+t.Zone...)
	sum := sha256.Sum256(b)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(b, sum[:tokenSum]...))
}

// ParseToken is the reverse of String.
func ParseToken(s string) (Token, error) {
	var t Token
	s, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok || len(s) > maxToken {
		return t, Errorf(http.StatusBadRequest, TokenMalformed, "this is not a token of eucad: those begin with %s", tokenPrefix)
	}
	malformed := Errorf(http.StatusBadRequest, TokenMalformed, "the token is damaged: copy it again, whole")
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	const fixed = tokenIDBytes + len(t.Secret) + len(t.CA)
	if err != nil || len(b) < fixed+tokenSum {
		return t, malformed
	}
	b, sum := b[:len(b)-tokenSum], b[len(b)-tokenSum:]
	if want := sha256.Sum256(b); !bytes.Equal(sum, want[:tokenSum]) {
		return t, malformed
	}
	t.ID = hex.EncodeToString(b[:tokenIDBytes])
	copy(t.Secret[:], b[tokenIDBytes:])
	copy(t.CA[:], b[tokenIDBytes+len(t.Secret):])
	role, zone, ok := strings.Cut(string(b[fixed:]), "/")
	t.Role, t.Zone = Role(role), zone
	if !ok || (Identity{t.Role, "any", t.Zone}).Check() != nil {
		return Token{}, malformed
	}
	return t, nil
}

// A TokenRecord is what the front end keeps of a token: enough to know it
// again, not enough to make it.
type TokenRecord struct {
	ID      string
	Hash    string // SHA-256 of the secret, in hex
	Role    Role
	Zone    string
	Created time.Time
	Expires time.Time
	Used    time.Time // zero: not yet
	UsedBy  string    // identity and key of the host, as given to Use
	Revoked time.Time // zero: no
}

// A TokenStore keeps records of tokens. All methods may run at once.
type TokenStore interface {
	Add(ctx context.Context, r TokenRecord) error
	Find(ctx context.Context, id string) (r TokenRecord, found bool, err error)
	List(ctx context.Context) ([]TokenRecord, error)

	// Use sets Used and UsedBy, unless the token is used or revoked: then it
	// changes nothing and returns false. Of two that run at once, one gets true.
	Use(ctx context.Context, id, by string, at time.Time) (bool, error)

	// Revoke sets Revoked. To revoke again changes nothing.
	Revoke(ctx context.Context, id string, at time.Time) error
}

// A NameStore knows which host holds which name.
type NameStore interface {
	// Claim gives the name of id to the key, unless another key holds it: then
	// it returns false, or an *Error. The same key may claim again. Of two that
	// run at once with different keys, one gets true.
	Claim(ctx context.Context, id Identity, key string) (bool, error)
}

// newToken returns a token and its record.
func newToken(ca *CA, role Role, zone string, lifetime time.Duration) (Token, TokenRecord, error) {
	if err := (Identity{role, "any", zone}).Check(); err != nil {
		return Token{}, TokenRecord{}, Errorf(http.StatusBadRequest, BadRequest, "%s", err)
	}
	id := make([]byte, tokenIDBytes)
	rand.Read(id)
	t := Token{ID: hex.EncodeToString(id), CA: ca.Fingerprint(), Role: role, Zone: zone}
	rand.Read(t.Secret[:])
	now := time.Now().UTC()
	return t, TokenRecord{
		ID: t.ID, Hash: hashSecret(t.Secret[:]), Role: role, Zone: zone,
		Created: now, Expires: now.Add(lifetime),
	}, nil
}

func hashSecret(secret []byte) string {
	h := sha256.Sum256(secret)
	return hex.EncodeToString(h[:])
}

// opens says whether the secret is that of the token.
func (r TokenRecord) opens(secret []byte) bool {
	return subtle.ConstantTimeCompare([]byte(r.Hash), []byte(hashSecret(secret))) == 1
}

// check says why host, with this key, may not join with the token now.
func (r TokenRecord) check(host Identity, by string, now time.Time) error {
	refuse := func(code, format string, args ...any) error {
		return Errorf(http.StatusForbidden, code, format, args...)
	}
	switch {
	case !r.Revoked.IsZero():
		return refuse(TokenRevoked, "token %s was revoked at %s", r.ID, r.Revoked.UTC().Format(time.RFC3339))
	case !now.Before(r.Expires):
		return refuse(TokenExpired, "token %s expired at %s: make a new one", r.ID, r.Expires.UTC().Format(time.RFC3339))
	case !r.Used.IsZero() && r.UsedBy != by:
		// The same host with the same key may ask again: it may not have got
		// the answer. All a thief gets so is a certificate for another's key.
		return refuse(TokenUsed, "token %s was used at %s: make a new one for each host", r.ID, r.Used.UTC().Format(time.RFC3339))
	case host.Role != r.Role:
		return refuse(WrongRole, "token %s is for a %s, not a %s", r.ID, r.Role, host.Role)
	case host.Zone != r.Zone:
		return refuse(WrongZone, "token %s is for zone %q, not %q", r.ID, r.Zone, host.Zone)
	}
	return nil
}
