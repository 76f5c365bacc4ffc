package ec2

import (
	"context"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store/cloud"
)

// describeInstanceStatus tells how running instances (or, when asked, all) are doing.
func (s *Server) describeInstanceStatus(ctx context.Context, in *wire.DescribeInstanceStatusInput) (*wire.DescribeInstanceStatusOutput, error) {
	if len(in.InstanceIds) > 0 && in.MaxResults != nil {
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	match, err := query.Compile(wire.Filters(in.Filters), statusFilters, (*instanceItem).tagMap)
	if err != nil {
		return nil, err
	}
	items, err := s.selectInstances(ctx, in.InstanceIds)
	if err != nil {
		return nil, err
	}
	if !query.Val(in.IncludeAllInstances) {
		items = keep(items, func(it *instanceItem) bool { return it.State == cloud.Running })
	}
	page, next, err := query.Page(ctx, keep(items, match), (*instanceItem).pageKey, in.MaxResults, in.NextToken, query.Thousand)
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeInstanceStatusOutput{NextToken: next, InstanceStatuses: make([]wire.InstanceStatus, len(page))}
	for n, it := range page {
		out.InstanceStatuses[n] = wire.InstanceStatus{
			InstanceId: &it.ID, InstanceState: wireState(it.State),
			AvailabilityZone: &it.Zone, AvailabilityZoneId: query.Ptr(cloud.ZoneID(s.Cfg.Region, it.Zone)),
			SystemStatus: statusSummary(it), InstanceStatus: statusSummary(it),
		}
	}
	return out, nil
}

// statusOf returns the state of an instance's checks: the node sees a running
// machine, or is not heard of.
func statusOf(it *instanceItem) (status, reachability string) {
	switch {
	case it.State == cloud.Pending:
		return "initializing", "initializing"
	case it.State != cloud.Running:
		return "not-applicable", ""
	case it.Impaired:
		return "impaired", "failed"
	}
	return "ok", "passed"
}

func statusSummary(it *instanceItem) *wire.InstanceStatusSummary {
	status, reach := statusOf(it)
	out := &wire.InstanceStatusSummary{Status: &status}
	if reach != "" {
		d := wire.InstanceStatusDetails{Name: query.Ptr("reachability"), Status: &reach}
		if it.Impaired {
			d.ImpairedSince = &it.StatusSince
		}
		out.Details = []wire.InstanceStatusDetails{d}
	}
	return out
}

func statusValue(it *instanceItem) []string  { s, _ := statusOf(it); return one(s) }
func reachability(it *instanceItem) []string { _, r := statusOf(it); return some(r) }

var statusFilters = query.Fields[*instanceItem]{
	"attached-ebs-status.status":   none,
	"availability-zone":            instanceFilters["availability-zone"],
	"availability-zone-id":         instanceFilters["availability-zone-id"],
	"event.code":                   none,
	"event.description":            none,
	"event.instance-event-id":      none,
	"event.not-after":              none,
	"event.not-before":             none,
	"event.not-before-deadline":    none,
	"instance-id":                  instanceFilters["instance-id"],
	"instance-state-code":          instanceFilters["instance-state-code"],
	"instance-state-name":          instanceFilters["instance-state-name"],
	"instance-status.reachability": reachability,
	"instance-status.status":       statusValue,
	"operator.managed":             constant("false"),
	"operator.principal":           none,
	"system-status.reachability":   reachability,
	"system-status.status":         statusValue,
}
