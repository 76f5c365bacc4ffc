package peer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
)

// maxBody bounds a call's request and answer, and a line of a watch. The
// largest is the whole plan of a node; what may be larger is a stream of bytes.
const maxBody = 32 << 20

// Handle makes a handler of a function from the JSON of the request's body to
// that of the answer's. An *Error that f returns reaches the caller as it is.
func Handle[In, Out any](f func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := call(w, r, f)
		if err != nil {
			ServeError(w, r, err)
			return
		}
		b, err := json.Marshal(out)
		if err != nil {
			ServeError(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(b)
	}
}

func call[In, Out any](w http.ResponseWriter, r *http.Request, f func(context.Context, In) (Out, error)) (out Out, _ error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return out, err
	}
	var in In
	if len(b) > 0 { // a GET has none
		if err := json.Unmarshal(b, &in); err != nil {
			return out, Errorf(http.StatusBadRequest, BadRequest, "the request is not what it should be: %s", err)
		}
	}
	return f(r.Context(), in)
}

// ServeError answers with err, as Handle does. What is not an *Error is logged.
func ServeError(w http.ResponseWriter, r *http.Request, err error) {
	if e := asError(err); e.Code == Internal && !errors.Is(err, context.Canceled) {
		slog.Error("call failed", "path", r.URL.Path, "caller", Caller(r.Context()).String(), "err", err)
	}
	writeError(w, r, err)
}
