package cloud

import "context"

// A Call is who asks for what: the part of an API request that the store
// needs to keep an audit trail and to honour DryRun.
type Call struct {
	RequestID string
	AccountID string
	AccessKey string
	Service   string // "ec2"
	Action    string // "RunInstances"
	Source    string // the client's address
	DryRun    bool
}

type callKey struct{}

// WithCall returns ctx carrying c.
func WithCall(ctx context.Context, c Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// CallFrom returns the Call that ctx carries; the zero Call when eucad itself acts.
func CallFrom(ctx context.Context) Call {
	c, _ := ctx.Value(callKey{}).(Call)
	return c
}
