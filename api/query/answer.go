package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"eucad/api/sigv4"
	"eucad/store/cloud"
)

const xmlHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// An answer is encoded into one buffer and sent with its length if it stays
// under flushSize; a larger one is sent in pieces of that size, so that a
// Describe of thousands does not hold megabytes.
const (
	flushSize = 64 << 10
	maxKept   = 4 * flushSize // a buffer that grew beyond is left to the collector
)

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// write sends a document made by appendTo, which may flush in between.
func write(w http.ResponseWriter, req *Request, status int, appendTo func(b []byte, flush func([]byte) []byte) []byte) {
	head := w.Header()
	head["Content-Type"] = []string{"text/xml;charset=UTF-8"}
	head["X-Amzn-Requestid"] = []string{req.ID}
	head["Cache-Control"] = []string{"no-cache, no-store"}
	flushed := false
	buf := buffers.Get().(*[]byte)
	b := appendTo((*buf)[:0], func(b []byte) []byte {
		if len(b) < flushSize {
			return b
		}
		if !flushed {
			flushed = true
			w.WriteHeader(status)
		}
		w.Write(b) // an error means the client has gone
		return b[:0]
	})
	if !flushed {
		head["Content-Length"] = []string{strconv.Itoa(len(b))}
		w.WriteHeader(status)
	}
	w.Write(b)
	if cap(b) <= maxKept {
		*buf = b
		buffers.Put(buf)
	}
}

// writeAnswer sends the answer of an action that succeeded.
func writeAnswer(w http.ResponseWriter, s *Service, req *Request, out Output) {
	write(w, req, http.StatusOK, func(b []byte, flush func([]byte) []byte) []byte {
		b = append(b, xmlHead...)
		b = append(b, '<')
		b = append(b, req.Action...)
		b = append(b, `Response xmlns="`...)
		b = append(b, s.Namespace...)
		b = append(b, req.Version...)
		b = append(b, `/">`...)
		if s.Dialect == EC2 {
			b = append(b, "<requestId>"...)
			b = append(b, req.ID...)
			b = append(b, "</requestId>"...)
			if st, ok := out.(Streamer); ok {
				b = st.StreamXML(b, flush)
			} else {
				b = out.AppendXML(b)
			}
		} else {
			b = appendResult(b, req, out)
		}
		b = append(b, "</"...)
		b = append(b, req.Action...)
		return append(b, "Response>"...)
	})
}

// appendResult writes an answer as STS and IAM do; an empty one has no result element.
func appendResult(b []byte, req *Request, out Output) []byte {
	before := len(b)
	b = append(b, '<')
	b = append(b, req.Action...)
	b = append(b, "Result>"...)
	empty := len(b)
	if b = out.AppendXML(b); len(b) == empty {
		b = b[:before]
	} else {
		b = append(b, "</"...)
		b = append(b, req.Action...)
		b = append(b, "Result>"...)
	}
	b = append(b, "<ResponseMetadata><RequestId>"...)
	b = append(b, req.ID...)
	return append(b, "</RequestId></ResponseMetadata>"...)
}

// A panicError is a panic of an action.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

// writeError sends an error. Only a Fault is meant for the caller; anything
// else goes to the log in full and to the caller as InternalError.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, s *Service, req *Request, err error) {
	f, ok := errors.AsType[*cloud.Fault](err)
	if !ok {
		if !errors.Is(err, context.Canceled) || r.Context().Err() == nil {
			h.log().Error("call failed", "req", req.ID, "account", req.Account, "action", req.Action, "err", err)
		}
		f = &cloud.Fault{Code: "InternalError", Msg: "An internal error has occurred. The request id tells the operator more: " + req.ID}
	}
	status := statusOf(f.Code)
	write(w, req, status, func(b []byte, _ func([]byte) []byte) []byte {
		b = append(b, xmlHead...)
		if s.Dialect == EC2 {
			return appendEC2Error(b, req, f)
		}
		return appendQueryError(b, s, req, f, status)
	})
}

// appendEC2Error writes the document that EC2 clients take apart: no
// namespace, exactly Code and Message, and a RequestID in capitals.
func appendEC2Error(b []byte, req *Request, f *cloud.Fault) []byte {
	b = append(b, "<Response><Errors><Error><Code>"...)
	b = AppendText(b, f.Code)
	b = append(b, "</Code><Message>"...)
	b = AppendText(b, f.Msg)
	b = append(b, "</Message></Error></Errors><RequestID>"...)
	b = append(b, req.ID...)
	return append(b, "</RequestID></Response>"...)
}

func appendQueryError(b []byte, s *Service, req *Request, f *cloud.Fault, status int) []byte {
	b = append(b, `<ErrorResponse xmlns="`...)
	b = append(b, s.Namespace...)
	b = append(b, req.Version...)
	b = append(b, `/"><Error><Type>`...)
	if status >= 500 {
		b = append(b, "Receiver"...)
	} else {
		b = append(b, "Sender"...)
	}
	b = append(b, "</Type><Code>"...)
	b = AppendText(b, f.Code)
	b = append(b, "</Code><Message>"...)
	b = AppendText(b, f.Msg)
	b = append(b, "</Message></Error><RequestId>"...)
	b = append(b, req.ID...)
	return append(b, "</RequestId></ErrorResponse>"...)
}

// statusOf returns the HTTP status of a code: 400 unless AWS documents another.
// Clients retry on 500 and 503.
func statusOf(code string) int {
	if status, ok := statuses[code]; ok {
		return status
	}
	return http.StatusBadRequest
}

var statuses = map[string]int{
	"AuthFailure":                 http.StatusUnauthorized,
	"OptInRequired":               http.StatusForbidden,
	"AccessDenied":                http.StatusForbidden,
	"UnauthorizedOperation":       http.StatusForbidden,
	"InvalidClientTokenId":        http.StatusForbidden,
	"MissingAuthenticationToken":  http.StatusForbidden,
	"SignatureDoesNotMatch":       http.StatusForbidden,
	"MethodNotAllowed":            http.StatusMethodNotAllowed,
	"DryRunOperation":             http.StatusPreconditionFailed,
	"RequestEntityTooLarge":       http.StatusRequestEntityTooLarge,
	"InternalError":               http.StatusInternalServerError,
	"InternalFailure":             http.StatusInternalServerError,
	"InsufficientAddressCapacity": http.StatusInternalServerError,

	"InsufficientInstanceCapacity": http.StatusInternalServerError,
	"InsufficientVolumeCapacity":   http.StatusInternalServerError,
	"RequestLimitExceeded":         http.StatusServiceUnavailable,
	"ServiceUnavailable":           http.StatusServiceUnavailable,
	"Unavailable":                  http.StatusServiceUnavailable,
}

// authFault gives a refused signature the code that the API uses for it. EC2
// says AuthFailure for a wrong key and for a wrong signature alike.
func authFault(d Dialect, err error) error {
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		return err
	}
	switch {
	case e.Reason == sigv4.Missing:
		return cloud.Faultf("MissingAuthenticationToken", "Request is missing Authentication Token: %s", e.Detail)
	case e.Reason == sigv4.Incomplete:
		return cloud.Faultf("IncompleteSignature", "%s", e.Detail)
	case e.Reason == sigv4.Expired && d == EC2:
		return cloud.Faultf("RequestExpired", "Request has expired. %s", e.Detail)
	case e.Reason == sigv4.Expired:
		return cloud.Faultf("SignatureDoesNotMatch", "Signature expired: %s", e.Detail)
	case d == EC2:
		return cloud.Faultf("AuthFailure", "AWS was not able to validate the provided access credentials")
	case e.Reason == sigv4.UnknownKey:
		return cloud.Faultf("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	return cloud.Faultf("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
}
