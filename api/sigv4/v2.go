package sigv4

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"net"
	"net/http"
	"strings"
	"time"
)

// version2 checks a signature of version 2, which Libcloud and old euca2ools
// make: an HMAC over method, host, path and all parameters.
// https://docs.aws.amazon.com/general/latest/gr/signature-version-2.html
func (v *Verifier) version2(r *http.Request, body []byte) (Identity, error) {
	params := splitQuery(r.URL.RawQuery)
	if r.Method == http.MethodPost {
		params = append(params, splitQuery(string(body))...)
	}
	given := map[string]string{}
	for _, p := range params {
		given[p.name] = p.value
	}
	if given["Signature"] == "" && given["AWSAccessKeyId"] == "" {
		return Identity{}, refuse(Missing, "the request is not signed.")
	}
	for _, name := range []string{"AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion"} {
		if given[name] == "" {
			return Identity{}, refuse(Incomplete, "The request must contain the parameter %s.", name)
		}
	}
	if given["SignatureVersion"] != "2" {
		return Identity{}, refuse(Incomplete, "SignatureVersion must be 2, or the signature of version 4.")
	}
	newHash := map[string]func() hash.Hash{"HmacSHA256": sha256.New, "HmacSHA1": sha1.New}[given["SignatureMethod"]]
	if newHash == nil {
		return Identity{}, refuse(Incomplete, "SignatureMethod must be HmacSHA256 or HmacSHA1.")
	}
	if err := v.fresh(given["Timestamp"], given["Expires"]); err != nil {
		return Identity{}, err
	}
	sum, err := base64.StdEncoding.DecodeString(given["Signature"])
	if err != nil {
		return Identity{}, refuse(Incomplete, "Signature must be base64.")
	}
	cred, err := v.credentialOf(r.Context(), given["AWSAccessKeyId"], given["SecurityToken"])
	if err != nil {
		return Identity{}, err
	}
	query := joinSorted(params, []string{"Signature"})
	for _, host := range hosts(r.Host) {
		h := hmac.New(newHash, []byte(cred.Secret))
		h.Write([]byte(r.Method + "\n" + host + "\n" + pathOrSlash(rawPath(r)) + "\n" + query))
		if subtle.ConstantTimeCompare(h.Sum(nil), sum) == 1 {
			return Identity{AccessKeyID: given["AWSAccessKeyId"], AccountID: cred.AccountID}, nil
		}
	}
	return Identity{}, refuse(BadSignature, "The request signature we calculated does not match the signature you provided.")
}

// hosts are the names a client may have signed: with or without the port.
func hosts(host string) []string {
	host = strings.ToLower(host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		return []string{host, h}
	}
	return []string{host}
}

func pathOrSlash(p string) string {
	if p == "" {
		return "/"
	}
	return p
}

// fresh checks the time of a version 2 request: Timestamp is when it was made,
// Expires is when it ends.
func (v *Verifier) fresh(timestamp, expires string) error {
	now := v.now()
	switch {
	case timestamp != "":
		t, err := parseISO(timestamp)
		if err != nil {
			return err
		}
		if age := now.Sub(t); age > maxSkew || age < -maxSkew {
			return refuse(Expired, "The request was signed at %s; it is %s here.", t.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	case expires != "":
		t, err := parseISO(expires)
		if err != nil {
			return err
		}
		if now.After(t) || t.Sub(now) > maxPresign {
			return refuse(Expired, "The request expires at %s; it is %s here.", t.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	default:
		return refuse(Incomplete, "The request must contain the parameter Timestamp or Expires.")
	}
	return nil
}

func parseISO(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, refuse(Incomplete, "The time '%s' is not like 2006-01-02T15:04:05Z.", clip(s))
}
