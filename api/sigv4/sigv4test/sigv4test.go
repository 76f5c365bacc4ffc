// Package sigv4test signs requests as AWS's clients do, for tests and
// benchmarks that need no client of AWS's.
package sigv4test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Post returns a POST of form to url, signed with Signature V4 for service
// ec2, as the AWS CLI signs. The signature is good for 15 minutes; the request
// may be sent again with a fresh body.
func Post(url, form, keyID, secret string) (*http.Request, error) {
	r, err := http.NewRequest("POST", url, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	const kind, names = "application/x-www-form-urlencoded; charset=utf-8", "content-type;host;x-amz-date"
	now := time.Now().UTC()
	day, stamp := now.Format("20060102"), now.Format("20060102T150405Z")
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	canonical := "POST\n" + path + "\n\ncontent-type:" + kind + "\nhost:" + r.URL.Host + "\nx-amz-date:" + stamp + "\n\n" + names + "\n" + sum(form)
	scope := day + "/any/ec2/aws4_request"
	key := []byte("AWS4" + secret)
	for _, part := range strings.Split(scope, "/") {
		key = mac(key, part)
	}
	sig := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+sum(canonical)))
	r.Header.Set("Content-Type", kind)
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", keyID, scope, names, sig))
	return r, nil
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}
