// Package admin is the administrators' API: accounts, credentials, images and nodes.
// It is served on a unix socket that only the cloud's own user may open, and
// has no other protection. The command line of eucad is its client.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"eucad/store"
	"eucad/store/cloud"
)

// A Server serves the administrators' API.
type Server struct {
	DB       *store.DB
	Region   string
	Zones    func() []string
	Endpoint string // URL of the EC2 API
	Images   string // directory of image contents
	Import   Importer
	Orphans  func(ctx context.Context) ([]string, error) // guests on this host that the plan does not know; nil for a host without guests
	Hosts    Hosts                                       // nil: the cloud takes no other hosts

	PowerSave bool // nodes without instances may sleep
}

// Credentials are what an AWS client needs to use an account.
type Credentials struct {
	Account         string `json:"account"` // 12 digits
	Name            string `json:"name"`
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	Region          string `json:"region"`
	Endpoint        string `json:"endpoint_url"`
	VpcID           string `json:"vpc_id"` // its default VPC
}

// Handler returns the API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /accounts", answer(s.listAccounts))
	mux.Handle("POST /accounts/{name}", answer(s.createAccount))
	mux.Handle("DELETE /accounts/{name}", answer(s.deleteAccount))
	mux.Handle("GET /accounts/{name}/credentials", answer(s.credentials))
	mux.HandleFunc("POST /images", s.importImage)
	mux.Handle("GET /orphans", OrphansHandler(s.Orphans))
	mux.Handle("GET /members", answer(s.listMembers))
	mux.Handle("DELETE /nodes/{name}", answer(s.removeNode))
	mux.Handle("POST /nodes/{name}/drain", answer(s.drain))
	mux.Handle("GET /tokens", answer(s.listTokens))
	mux.Handle("POST /tokens", answer(s.createToken))
	mux.Handle("DELETE /tokens/{id}", answer(s.revokeToken))
	mux.Handle("GET /instances/{id}/explain", answer(s.explain))
	mux.Handle("GET /nodes", answer(s.listNodes))
	mux.Handle("POST /nodes/{name}/cordon", answer(s.cordon))
	mux.Handle("POST /nodes/{name}/uncordon", answer(s.uncordon))
	return mux
}

// answer serves what f returns as JSON. A Fault is the caller's; any other
// error is ours, but the caller is an administrator and sees it too.
func answer[T any](f func(r *http.Request) (T, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(status(err))
			json.NewEncoder(w).Encode(errorOf(err))
			return
		}
		json.NewEncoder(w).Encode(v)
	})
}

// An Error is how the API tells what went wrong.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

func errorOf(err error) *Error {
	if f, ok := errors.AsType[*cloud.Fault](err); ok {
		return &Error{f.Code, f.Msg}
	}
	slog.Error("administrator's call failed", "err", err)
	return &Error{"InternalError", err.Error()}
}

func status(err error) int {
	if cloud.FaultCode(err) != "" {
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// audit marks ctx as an administrator's call for the audit trail.
func audit(r *http.Request, action string) context.Context {
	return cloud.WithCall(r.Context(), cloud.Call{Service: "admin", Action: action, Source: "local"})
}

// drain reads what is left of a body, so that the client sees the answer.
func drain(r io.Reader) { io.CopyN(io.Discard, r, 1<<20) }

// OrphansHandler serves GET /orphans, which every host with guests does, also
// one that has no other administrators' API.
func OrphansHandler(orphans func(ctx context.Context) ([]string, error)) http.Handler {
	return answer(func(r *http.Request) ([]string, error) {
		if orphans == nil {
			return []string{}, nil
		}
		ids, err := orphans(r.Context())
		return append([]string{}, ids...), err
	})
}
