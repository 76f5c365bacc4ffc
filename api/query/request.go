package query

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"eucad/store/cloud"
)

// A Request is what actions may want to know of the call they serve.
type Request struct {
	ID          string // request id, a UUID
	Service     string // "ec2"
	Action      string // "RunInstances"
	Version     string // the API version the client speaks
	Account     string // account of the access key
	AccessKeyID string
	RemoteAddr  string // address of the client, without port
	Host        string // Host header, with port if the client gave one

	params  []param // sorted; without those of the protocol
	pageKey []byte
}

type requestKey struct{}

// FromContext returns the request being served. Outside of one it is the zero Request.
func FromContext(ctx context.Context) *Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return r
	}
	return new(Request)
}

// withRequest returns ctx carrying r for actions, and its part that the store needs.
func withRequest(ctx context.Context, r *Request, dryRun bool) context.Context {
	ctx = context.WithValue(ctx, requestKey{}, r)
	return cloud.WithCall(ctx, cloud.Call{
		RequestID: r.ID,
		AccountID: r.Account,
		AccessKey: r.AccessKeyID,
		Service:   r.Service,
		Action:    r.Action,
		Source:    r.RemoteAddr,
		DryRun:    dryRun,
	})
}

// DryRun tells whether the caller only asks whether the action would work. An
// action need not look: it does all its checks and writes as ever, the store
// rolls back and returns cloud.ErrDryRun, and the Handler answers
// DryRunOperation. It matters only for effects outside the store.
func DryRun(ctx context.Context) bool { return cloud.CallFrom(ctx).DryRun }

// RequestHash returns the SHA-256, in hex, over the action and its parameters, whatever
// their order: equal requests have equal hashes. ClientToken, DryRun and all
// that belongs to the signature are left out, so that a retry equals its
// first try.
func RequestHash(ctx context.Context) string {
	r := FromContext(ctx)
	b := append(make([]byte, 0, 1024), r.Action...)
	for _, p := range r.params {
		if p.name == "ClientToken" || p.name == "DryRun" {
			continue
		}
		b = append(b, 0)
		b = append(b, p.name...)
		b = append(b, 0)
		b = append(b, p.value...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// protocolParams are the parameters that belong to the protocol, not to an action.
var protocolParams = []string{
	"Action", "Version",
	"AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp", "Expires", "SecurityToken",
}

func isProtocolParam(name string) bool {
	return slices.Contains(protocolParams, name) || len(name) > 6 && strings.EqualFold(name[:6], "X-Amz-")
}

// take returns the value of the named parameter, "" when it was not given.
func take(ps []param, name string) string {
	for i := range ps {
		if ps[i].name == name {
			return ps[i].value
		}
	}
	return ""
}
