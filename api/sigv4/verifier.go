package sigv4

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxSkew    = 15 * time.Minute   // between our clock and the signer's
	maxPresign = 7 * 24 * time.Hour // longest life of a presigned request
	maxAuth    = 8 << 10            // bytes of an Authorization header
	maxSigned  = 100                // signed headers

	algorithm       = "AWS4-HMAC-SHA256"
	terminator      = "aws4_request"
	basicTime       = "20060102T150405Z"
	unsignedPayload = "UNSIGNED-PAYLOAD"
)

// A Verifier checks signatures. It may be used by many goroutines at once; its
// fields must not change once it is in use.
type Verifier struct {
	// Key finds the secret of an access key; ErrNoKey when there is none.
	Key func(ctx context.Context, accessKeyID string) (Credential, error)

	// Now is the clock; time.Now when nil.
	Now func() time.Time

	// S3 applies the rules of object storage: the path is signed as it stands,
	// neither cleaned nor escaped twice, and the body may be unsigned.
	S3 bool

	keepPath bool // for the vectors of AWS's suite that do not clean the path

	keys keyCache
}

// Verify tells who signed r. body is the whole body, already read. A refusal
// is an *Error; any other error comes from Key.
//
// Region and service are taken from the signature as they are: clients of
// private clouds call them what they like (boto 2 takes them from the address,
// euca2ools invents a region), and the secret is bound to the cloud anyway.
func (v *Verifier) Verify(r *http.Request, body []byte) (Identity, error) {
	query := r.URL.RawQuery
	switch auth := r.Header.Get("Authorization"); {
	case strings.HasPrefix(auth, algorithm+" "):
		return v.header(r, auth, body)
	case auth != "":
		scheme, _, _ := strings.Cut(auth, " ")
		return Identity{}, refuse(Incomplete, "Authorization scheme %q is not supported; %s is", clip(scheme), algorithm)
	case strings.Contains(query, "X-Amz-Signature="):
		return v.presigned(r, body)
	}
	return v.version2(r, body)
}

// signature is a version 4 signature taken apart.
type signature struct {
	keyID, date, region, service string    // the credential
	signed                       []string  // names of the signed headers, lower case
	sum                          string    // hex
	at                           time.Time // when it was made
	query                        string    // canonical query
	token                        string    // session token that came along
}

func (s *signature) scope() string {
	return s.date + "/" + s.region + "/" + s.service + "/" + terminator
}

// header checks a signature in the Authorization header.
func (v *Verifier) header(r *http.Request, auth string, body []byte) (Identity, error) {
	if len(auth) > maxAuth {
		return Identity{}, refuse(Incomplete, "Authorization header is longer than %d bytes", maxAuth)
	}
	fields := authFields(strings.TrimPrefix(auth, algorithm+" "))
	s := &signature{sum: fields["Signature"], token: r.Header.Get("X-Amz-Security-Token")}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return Identity{}, refuse(Incomplete, "Authorization header requires '%s' parameter.", name)
		}
	}
	if err := s.credential(fields["Credential"], fields["SignedHeaders"]); err != nil {
		return Identity{}, err
	}
	var err error
	if s.at, err = headerTime(r.Header); err != nil {
		return Identity{}, err
	}
	if age := v.now().Sub(s.at); age > maxSkew || age < -maxSkew {
		return Identity{}, refuse(Expired, "The request was signed at %s; it is %s here.", s.at.Format(time.RFC3339), v.now().UTC().Format(time.RFC3339))
	}
	s.query = canonicalQuery(r.URL.RawQuery)
	return v.check(r, s, body)
}

// authFields splits "A=x, B=y"; the blanks are optional (boto 2 sends none).
func authFields(s string) map[string]string {
	m := make(map[string]string, 3)
	for part := range strings.SplitSeq(s, ",") {
		k, val, _ := strings.Cut(strings.TrimSpace(part), "=")
		m[k] = val
	}
	return m
}

// presigned checks a signature in the query.
func (v *Verifier) presigned(r *http.Request, body []byte) (Identity, error) {
	q := map[string]string{}
	for _, p := range splitQuery(r.URL.RawQuery) {
		if strings.HasPrefix(p.name, "X-Amz-") {
			q[p.name] = p.value
		}
	}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		if q[name] == "" {
			return Identity{}, refuse(Incomplete, "AWS query-string parameters must include '%s'.", name)
		}
	}
	if q["X-Amz-Algorithm"] != algorithm {
		return Identity{}, refuse(Incomplete, "X-Amz-Algorithm must be %s", algorithm)
	}
	s := &signature{sum: q["X-Amz-Signature"], token: q["X-Amz-Security-Token"]}
	if err := s.credential(q["X-Amz-Credential"], q["X-Amz-SignedHeaders"]); err != nil {
		return Identity{}, err
	}
	var err error
	if s.at, err = time.Parse(basicTime, q["X-Amz-Date"]); err != nil {
		return Identity{}, refuse(Incomplete, "X-Amz-Date must be like %s", basicTime)
	}
	life := maxSkew // some signers of POSTs leave it out
	if e := q["X-Amz-Expires"]; e != "" {
		secs, err := strconv.Atoi(e)
		if err != nil || secs < 1 || secs > int(maxPresign/time.Second) {
			return Identity{}, refuse(Incomplete, "X-Amz-Expires must be 1 to %d seconds", int(maxPresign/time.Second))
		}
		life = time.Duration(secs) * time.Second
	}
	if age := v.now().Sub(s.at); age > life || age < -maxSkew {
		return Identity{}, refuse(Expired, "The request was valid for %s from %s; it is %s here.", life, s.at.Format(time.RFC3339), v.now().UTC().Format(time.RFC3339))
	}
	s.query = canonicalQuery(r.URL.RawQuery, "X-Amz-Signature")
	who, err := v.check(r, s, body)
	if e, ok := err.(*Error); ok && e.Reason == BadSignature && s.token != "" {
		// Some services' clients append the token after they have signed.
		s.query = canonicalQuery(r.URL.RawQuery, "X-Amz-Signature", "X-Amz-Security-Token")
		return v.check(r, s, body)
	}
	return who, err
}

// credential takes KEY/DATE/REGION/SERVICE/aws4_request and the list of signed headers apart.
func (s *signature) credential(cred, signed string) error {
	p := strings.Split(cred, "/")
	if len(p) != 5 || p[0] == "" || len(p[1]) != 8 || p[4] != terminator || len(cred) > 512 {
		return refuse(Incomplete, "Credential must be KEY/YYYYMMDD/REGION/SERVICE/%s, not '%s'", terminator, clip(cred))
	}
	s.keyID, s.date, s.region, s.service = p[0], p[1], p[2], p[3]
	if strings.Count(signed, ";") >= maxSigned {
		return refuse(Incomplete, "SignedHeaders names more than %d headers", maxSigned)
	}
	host := false
	for name := range strings.SplitSeq(signed, ";") {
		s.signed = append(s.signed, name)
		host = host || name == "host"
	}
	if !host {
		return refuse(Incomplete, "'Host' must be a 'SignedHeader' in the signature.")
	}
	if raw, err := hex.DecodeString(s.sum); err != nil || len(raw) != sha256.Size {
		return refuse(Incomplete, "Signature must be %d hex digits", 2*sha256.Size)
	}
	return nil
}

// headerTime reads X-Amz-Date or, without it, Date.
func headerTime(h http.Header) (time.Time, error) {
	value := h.Get("X-Amz-Date")
	if value == "" {
		value = h.Get("Date")
	}
	if value == "" {
		return time.Time{}, refuse(Incomplete, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if t, err := time.Parse(basicTime, value); err == nil {
		return t, nil
	}
	if t, err := http.ParseTime(value); err == nil {
		return t, nil
	}
	return time.Time{}, refuse(Incomplete, "Date must be like %s, not '%s'", basicTime, clip(value))
}

// check computes the signature that r should have and compares.
func (v *Verifier) check(r *http.Request, s *signature, body []byte) (Identity, error) {
	if s.date != s.at.UTC().Format("20060102") {
		return Identity{}, refuse(Incomplete, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'", s.date, s.at.UTC().Format("20060102"))
	}
	payload, err := v.payloadHash(r, body)
	if err != nil {
		return Identity{}, err
	}
	cred, err := v.credentialOf(r.Context(), s.keyID, s.token)
	if err != nil {
		return Identity{}, err
	}
	key, fresh := v.keys.derive(cred.Secret, s)
	hash := sha256.Sum256(canonicalRequest(r, s, payload, v.pathRules()))
	b := append(make([]byte, 0, 256), algorithm+"\n"...)
	b = append(b, s.at.UTC().Format(basicTime)...)
	b = append(b, '\n')
	b = append(b, s.scope()...)
	b = append(b, '\n')
	b = hex.AppendEncode(b, hash[:])
	sum := hex.EncodeToString(hmacSHA256(key, b))
	if subtle.ConstantTimeCompare([]byte(sum), []byte(strings.ToLower(s.sum))) != 1 {
		return Identity{}, refuse(BadSignature, "The request signature we calculated does not match the signature you provided.")
	}
	if fresh {
		v.keys.keep(cred.Secret, s, key)
	}
	return Identity{AccessKeyID: s.keyID, AccountID: cred.AccountID}, nil
}

// credentialOf finds the credential of a key and checks the session token.
func (v *Verifier) credentialOf(ctx context.Context, keyID, token string) (Credential, error) {
	cred, err := v.Key(ctx, keyID)
	if errors.Is(err, ErrNoKey) {
		return cred, refuse(UnknownKey, "The access key does not exist or is not active.")
	}
	if err != nil {
		return cred, err
	}
	if subtle.ConstantTimeCompare([]byte(cred.Token), []byte(token)) != 1 {
		return cred, refuse(UnknownKey, "The session token is not that of the access key.")
	}
	return cred, nil
}

// payloadHash returns the hash of the body as the canonical request has it. A
// hash that the client states must be true, for it is what was signed.
func (v *Verifier) payloadHash(r *http.Request, body []byte) (string, error) {
	stated := r.Header.Get("X-Amz-Content-Sha256")
	if v.S3 && (stated == unsignedPayload || stated == "" && r.Header.Get("Authorization") == "") {
		return unsignedPayload, nil
	}
	sum := sha256.Sum256(body)
	actual := hex.EncodeToString(sum[:])
	if stated != "" && stated != actual {
		return "", refuse(BadSignature, "X-Amz-Content-Sha256 is not the hash of the body.")
	}
	return actual, nil
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

func (v *Verifier) pathRules() pathRules {
	return pathRules{clean: !v.S3 && !v.keepPath, twice: !v.S3}
}

func clip(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
