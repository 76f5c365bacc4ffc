// Package sts implements AWS's Security Token Service as far as an account has
// only its own keys: who is calling? Most tools ask this first.
package sts

import (
	"context"

	"eucad/api/query"
	"eucad/api/sts/wire"
)

// Service returns the STS API. It has no state: the signature tells all.
func Service() *query.Service {
	return query.NewService(query.Service{
		Name:      "sts",
		Dialect:   query.AWSQuery,
		Version:   wire.Version,
		Namespace: "https://sts.amazonaws.com/doc/",
		Known:     wire.Known,
	}, server{}, actions)
}

type server struct{}

var actions = map[string]query.Action[server]{
	"GetCallerIdentity": query.Handle(server.getCallerIdentity),
}

// getCallerIdentity names the account of the access key. Every key is its
// account's own, which AWS calls root; the root user's id is the account's.
func (server) getCallerIdentity(ctx context.Context, _ *wire.GetCallerIdentityInput) (*wire.GetCallerIdentityOutput, error) {
	account := query.FromContext(ctx).Account
	return &wire.GetCallerIdentityOutput{
		Account: &account,
		Arn:     new("arn:aws:iam::" + account + ":root"),
		UserId:  &account,
	}, nil
}
