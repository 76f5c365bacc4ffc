package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// renewGrace is how long after its end a certificate still gets its host a new
// one: a host may have been asleep or in repair.
const renewGrace = 30 * 24 * time.Hour

// An Authority decides who belongs to the cloud. It is a front end's. Fields
// are set before it is used.
type Authority struct {
	CA     *CA
	Tokens TokenStore
	Names  NameStore
	Deny   *DenyList
	Life   time.Duration // of certificates; default CertificateLife

	// Welcome returns what a host is told when it joins and renews, besides who is
	// denied; nil is nothing.
	Welcome func(ctx context.Context, id Identity) (Welcome, error)
}

// A Welcome is what a host learns with its certificate.
type Welcome struct {
	LAN  [][]byte        `json:"lan,omitempty"`  // keys of the zone's gossip, the one to use first
	WAN  [][]byte        `json:"wan,omitempty"`  // keys of the cloud's gossip
	More json.RawMessage `json:"more,omitempty"` // the front end's own

	Denied []string `json:"denied,omitempty"` // who does not belong to the cloud any more; see DenyList
}

// joinRequest is the body of POST /join. The CSR proves that the host has the key.
type joinRequest struct {
	Token  string   `json:"token"` // id
	Secret []byte   `json:"secret"`
	Host   Identity `json:"host"`
	CSR    []byte   `json:"csr"` // DER
}

// A RenewRequest asks for a new certificate for the key of an old one. It
// carries all its proof, so it needs no certificate in the connection: the old
// one may have expired, and a relay may be between.
type RenewRequest struct {
	Certificate []byte `json:"certificate"` // DER
	CSR         []byte `json:"csr"`         // DER, by the same key
}

// Issued is the answer to those who join or renew.
type Issued struct {
	Certificate []byte  `json:"certificate"` // DER
	CA          []byte  `json:"ca"`          // DER
	Welcome     Welcome `json:"welcome"`
}

// CreateToken makes a token for one host, keeps its record, and returns what
// to print.
func (a *Authority) CreateToken(ctx context.Context, role Role, zone string, lifetime time.Duration) (Token, error) {
	t, r, err := newToken(a.CA, role, zone, lifetime)
	if err != nil {
		return Token{}, err
	}
	if err := a.Tokens.Add(ctx, r); err != nil {
		return Token{}, fmt.Errorf("keep token: %w", err)
	}
	return t, nil
}

// Credentials returns those of the front end itself, with a new key.
func (a *Authority) Credentials(ctx context.Context, name string) (*Credentials, error) {
	return selfCredentials(ctx, a, Identity{Role: FrontEnd, Name: name})
}

// ServeHTTP answers POST /join and POST /renew: see ServerOptions.Open.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxOpenBody)
	r = r.WithContext(context.WithValue(r.Context(), refusalKey{}, nil)) // we know better whom we refuse, and log it
	switch r.URL.Path {
	case joinPath:
		Handle(a.join)(w, r)
	case renewPath:
		Handle(a.Renew)(w, r)
	default:
		writeError(w, r, errNoPath(r))
	}
}

func (a *Authority) join(ctx context.Context, in joinRequest) (Issued, error) {
	out, err := a.tryJoin(ctx, in)
	if err != nil {
		slog.Warn("host refused", "host", in.Host.String(), "token", clip(in.Token), "err", err)
		return Issued{}, err
	}
	slog.Info("host joined", "host", in.Host.String(), "token", in.Token)
	return out, nil
}

func (a *Authority) tryJoin(ctx context.Context, in joinRequest) (Issued, error) {
	rec, found, err := a.Tokens.Find(ctx, in.Token)
	if err != nil {
		return Issued{}, fmt.Errorf("find token: %w", err)
	}
	if !found || !rec.opens(in.Secret) { // nobody learns which ids exist
		return Issued{}, Errorf(http.StatusForbidden, TokenUnknown, "token %s is not known to this cloud: make a new one", clip(in.Token))
	}
	pub, err := checkCSR(in.CSR)
	if err != nil {
		return Issued{}, Errorf(http.StatusBadRequest, BadRequest, "%s", err)
	}
	key, err := keyHash(pub)
	if err != nil {
		return Issued{}, err
	}
	by := in.Host.String() + " " + key
	if err := rec.check(in.Host, by, time.Now()); err != nil {
		return Issued{}, err
	}
	if err := a.Deny.check(in.Host.String()); err != nil {
		return Issued{}, err
	}
	if err := mayBring(ctx, in.Host); err != nil {
		return Issued{}, err
	}
	// The name first: who gets it and then loses the race for the token can
	// come again with a new token and the same key; a token spent on a name
	// that is taken would be lost.
	if err := a.claim(ctx, in.Host, key); err != nil {
		return Issued{}, err
	}
	if rec.Used.IsZero() {
		ok, err := a.Tokens.Use(ctx, in.Token, by, time.Now().UTC())
		if err != nil {
			return Issued{}, fmt.Errorf("use token: %w", err)
		}
		if !ok { // another came between
			if rec, _, err = a.Tokens.Find(ctx, in.Token); err != nil {
				return Issued{}, fmt.Errorf("find token: %w", err)
			}
			if err := rec.check(in.Host, by, time.Now()); err != nil {
				return Issued{}, err
			}
		}
	}
	return a.issue(ctx, in.CSR, in.Host)
}

// Renew answers POST /renew. A front end renews its own credentials by it.
func (a *Authority) Renew(ctx context.Context, in RenewRequest) (Issued, error) {
	out, id, err := a.tryRenew(ctx, in)
	if err != nil {
		slog.Warn("renewal refused", "host", id.String(), "err", err)
	}
	return out, err
}

func (a *Authority) tryRenew(ctx context.Context, in RenewRequest) (Issued, Identity, error) {
	refuse := func(id Identity, code, format string, args ...any) (Issued, Identity, error) {
		return Issued{}, id, Errorf(http.StatusForbidden, code, format, args...)
	}
	old, err := x509.ParseCertificate(in.Certificate)
	if err != nil {
		return refuse(Identity{}, BadRequest, "this is not a certificate")
	}
	// Of a certificate of ours, all but its time must be right.
	id, err := verify(old, a.CA.cert, old.NotBefore, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return refuse(id, OtherCloud, "the certificate is not one of this cloud's")
	}
	if time.Now().After(old.NotAfter.Add(renewGrace)) {
		return refuse(id, CertificateExpired, "the certificate of %s ended at %s, too long ago to renew: join again with a token", id, old.NotAfter.Format(time.RFC3339))
	}
	if err := a.Deny.checkCertificate(id, old); err != nil {
		return Issued{}, id, err
	}
	if err := mayBring(ctx, id); err != nil {
		return Issued{}, id, err
	}
	pub, err := checkCSR(in.CSR)
	if err != nil {
		return refuse(id, BadRequest, "%s", err)
	}
	if oldKey, ok := old.PublicKey.(*ecdsa.PublicKey); !ok || !oldKey.Equal(pub) {
		return refuse(id, BadRequest, "the certificate of %s belongs to another key", id)
	}
	out, err := a.issue(ctx, in.CSR, id)
	return out, id, err
}

// mayBring says whether who called may ask on behalf of host: itself, or a
// head for the nodes of its zone. A stranger speaks for itself and has other proof.
func mayBring(ctx context.Context, host Identity) error {
	c, ok := callerOf(ctx)
	if !ok || c.id == host || c.id.Role == Cluster && host.Role == Node && c.id.Zone == host.Zone {
		return nil
	}
	return Errorf(http.StatusForbidden, WrongZone, "%s may not ask for %s", c.id, host)
}

func (a *Authority) claim(ctx context.Context, id Identity, key string) error {
	ok, err := a.Names.Claim(ctx, id, key)
	if err != nil {
		if ErrorCode(err) != "" { // it says all itself
			return err
		}
		return fmt.Errorf("claim %s: %w", id, err)
	}
	if !ok {
		return Errorf(http.StatusConflict, NameTaken, "another host is already %s: give this one another name, or remove that one", id)
	}
	return nil
}

func (a *Authority) issue(ctx context.Context, csr []byte, id Identity) (Issued, error) {
	life := a.Life
	if life == 0 {
		life = CertificateLife
	}
	der, err := a.CA.Issue(csr, id, life)
	if err != nil {
		return Issued{}, fmt.Errorf("issue to %s: %w", id, err)
	}
	out := Issued{Certificate: der, CA: a.CA.cert.Raw}
	if out.Welcome, err = a.WelcomeOf(ctx, id); err != nil {
		return Issued{}, fmt.Errorf("welcome %s: %w", id, err)
	}
	return out, nil
}

// WelcomeOf returns what a host is to know now.
func (a *Authority) WelcomeOf(ctx context.Context, id Identity) (w Welcome, err error) {
	if a.Welcome != nil {
		w, err = a.Welcome(ctx, id)
	}
	w.Denied = a.Deny.Entries()
	return w, err
}
