// Package ec2 implements the actions of the EC2 API, one file each. An action
// checks the request, writes what is wanted in one transaction, and answers;
// what follows from it is the business of roles/control.
package ec2

import (
	"context"
	"net/netip"
	"time"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// A Config says what cloud the API speaks for.
type Config struct {
	Region     string          // "eucad-1"
	Domain     string          // public DNS names end in it: "eucad.internal"
	Zones      func() []string // "eucad-1a", …
	PublicPool netip.Prefix    // of public addresses; the zero Prefix for none
	Types      *cloud.Types    // instance types
	Endpoint   string          // URL under which clients reach this API
	Policy     cloud.Policy    // says where instances go; nil for cloud.DefaultPolicy
	Pool       string          // where new volumes are; "" for cloud.PoolNode
}

// A Server serves EC2 actions. Its exported fields are set before it serves.
type Server struct {
	DB  *store.DB
	Cfg Config

	// Console returns what the instance last wrote to its serial port. It is
	// the one question that is put to a node; it is bounded by ctx.
	Console func(ctx context.Context, i cloud.Instance) ([]byte, time.Time, error)

	views views
	holds holds
}

// Service returns the EC2 API that s serves.
func (s *Server) Service() *query.Service {
	return query.NewService(query.Service{
		Name:      "ec2",
		Dialect:   query.EC2,
		Version:   wire.Version,
		Namespace: "http://ec2.amazonaws.com/doc/",
		Known:     wire.Known,
	}, s, actions)
}

// account returns the account that calls.
func account(ctx context.Context) string { return query.FromContext(ctx).Account }

// missing is the Fault of a request without a parameter that it needs.
func missing(param string) error {
	return cloud.Faultf("MissingParameter", "The request must contain the parameter %s", param)
}

// unsupported is the Fault of a request that asks for what this cloud does not
// do; what is the parameter, or the value of it.
func unsupported(what string) error {
	return cloud.Faultf("UnsupportedOperation", "%s is not supported by this cloud.", what)
}

// invalid is the Fault of a parameter whose value cannot be.
func invalid(param, value, want string) error {
	return cloud.Faultf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. %s", clip(value), param, want)
}

// clip shortens a value of the caller's to what an error message may carry.
func clip(s string) string {
	const most = 128
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// opt returns a pointer to v for an optional member of an answer, or nil when
// v is the zero value, which stands for absent.
func opt[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// checkIDs returns the Fault of the first id that is not of the form prefix-hex.
func checkIDs(prefix string, ids ...string) error {
	for _, id := range ids {
		if err := cloud.CheckID(prefix, id); err != nil {
			return err
		}
	}
	return nil
}
