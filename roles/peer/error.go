package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// An Error is a refusal, the same on both sides of a call. Code is stable;
// Message is a sentence for a person. Any other error that a handler returns
// is the server's own: the log has it in full, and the caller sees "Internal".
type Error struct {
	Status  int    `json:"-"` // of HTTP
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Codes of refusals.
const (
	TokenMalformed = "TokenMalformed" // not a token, or part of one
	TokenUnknown   = "TokenUnknown"   // never made here, or with another secret
	TokenExpired   = "TokenExpired"
	TokenUsed      = "TokenUsed"
	TokenRevoked   = "TokenRevoked"
	OtherCloud     = "OtherCloud" // the other side has not this cloud's CA
	WrongRole      = "WrongRole"
	WrongZone      = "WrongZone"
	WrongHost      = "WrongHost" // another host answered than was called
	NameTaken      = "NameTaken" // by a host with another key
	Denied         = "Denied"    // on the deny list

	CertificateRequired = "CertificateRequired"
	CertificateExpired  = "CertificateExpired"
	VersionRefused      = "VersionRefused"
	BadRequest          = "BadRequest"
	NotFound            = "NotFound"
	TooManyRequests     = "TooManyRequests"
	TooManyHops         = "TooManyHops"
	Unreachable         = "Unreachable" // a relay cannot reach the host behind it
	Internal            = "Internal"
)

// Errorf returns an *Error.
func Errorf(status int, code, format string, args ...any) error {
	return &Error{status, code, fmt.Sprintf(format, args...)}
}

// ErrorCode returns the code of the *Error in err's chain, or "".
func ErrorCode(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// asError returns what the caller may see of err.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Error{http.StatusRequestEntityTooLarge, BadRequest, "the request is too large"}
	}
	return &Error{http.StatusInternalServerError, Internal, "the server has an internal error"}
}

// writeError answers with err.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	noteRefusal(r, e)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	json.NewEncoder(w).Encode(e)
}

// readError makes the *Error that writeError wrote.
func readError(status int, body []byte) *Error {
	e := &Error{Status: status}
	if json.Unmarshal(body, e) != nil || e.Code == "" {
		e.Code, e.Message = Internal, fmt.Sprintf("the peer answered %d %s", status, http.StatusText(status))
	}
	e.Status = status
	return e
}
