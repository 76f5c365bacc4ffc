package ec2

import "eucad/api/query"

// actions are what the API serves: sorted, one a line.
var actions = map[string]query.Action[*Server]{
	"DescribeInstances":  query.Handle((*Server).describeInstances),
	"RebootInstances":    query.Handle((*Server).rebootInstances),
	"RunInstances":       query.Handle((*Server).runInstances),
	"StartInstances":     query.Handle((*Server).startInstances),
	"StopInstances":      query.Handle((*Server).stopInstances),
	"TerminateInstances": query.Handle((*Server).terminateInstances),
}
