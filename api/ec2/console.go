package ec2

import (
	"context"
	"encoding/base64"
	"log/slog"
	"time"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

const (
	consoleTime = 10 * time.Second // for the node to answer
	consoleMost = 64 << 10         // bytes of output that EC2 gives at most
)

// getConsoleOutput returns the end of what an instance wrote to its serial port.
func (s *Server) getConsoleOutput(ctx context.Context, in *wire.GetConsoleOutputInput) (*wire.GetConsoleOutputOutput, error) {
	i, err := s.instance(ctx, query.Val(in.InstanceId))
	if err != nil {
		return nil, err
	}
	out := &wire.GetConsoleOutputOutput{InstanceId: &i.ID, Timestamp: query.Ptr(time.Now().UTC())}
	if i.Node == "" || i.State == cloud.Terminated || query.DryRun(ctx) {
		return out, nil
	}
	ctx, stop := context.WithTimeout(ctx, consoleTime)
	defer stop()
	text, at, err := s.Console(ctx, i)
	if err != nil {
		slog.WarnContext(ctx, "console is out of reach", "instance", i.ID, "node", i.Node, "err", err)
		return nil, cloud.Faultf("Unavailable", "The console of instance '%s' cannot be read now: its host does not answer. Try again later.", i.ID)
	}
	if len(text) > 0 {
		text = text[max(0, len(text)-consoleMost):]
		out.Output, out.Timestamp = query.Ptr(base64.StdEncoding.EncodeToString(text)), &at
	}
	return out, nil
}

// getPasswordData returns no password: only Windows guests have one.
func (s *Server) getPasswordData(ctx context.Context, in *wire.GetPasswordDataInput) (*wire.GetPasswordDataOutput, error) {
	i, err := s.instance(ctx, query.Val(in.InstanceId))
	if err != nil {
		return nil, err
	}
	return &wire.GetPasswordDataOutput{InstanceId: &i.ID, Timestamp: query.Ptr(time.Now().UTC()), PasswordData: query.Ptr("")}, nil
}

// instance returns the caller's instance id.
func (s *Server) instance(ctx context.Context, id string) (i cloud.Instance, err error) {
	if id == "" {
		return i, missing("InstanceId")
	}
	if err := checkIDs("i", id); err != nil {
		return i, err
	}
	err = s.DB.Read(ctx, func(rx store.Rx) error {
		i, err = rx.Instance(ctx, account(ctx), id)
		return err
	})
	return i, err
}
