package ec2

import "eucad/api/query"

// actions are what the API serves: sorted, one a line.
var actions = map[string]query.Action[*Server]{
	"DeregisterImage":                      query.Handle((*Server).deregisterImage),
	"DescribeAccountAttributes":            query.Handle((*Server).describeAccountAttributes),
	"DescribeAvailabilityZones":            query.Handle((*Server).describeAvailabilityZones),
	"DescribeImageAttribute":               query.Handle((*Server).describeImageAttribute),
	"DescribeImages":                       query.Handle((*Server).describeImages),
	"DescribeInstanceAttribute":            query.Handle((*Server).describeInstanceAttribute),
	"DescribeInstanceCreditSpecifications": query.Handle((*Server).describeInstanceCreditSpecifications),
	"DescribeInstanceStatus":               query.Handle((*Server).describeInstanceStatus),
	"DescribeInstanceTypeOfferings":        query.Handle((*Server).describeInstanceTypeOfferings),
	"DescribeInstanceTypes":                query.Handle((*Server).describeInstanceTypes),
	"DescribeInstances":                    query.Handle((*Server).describeInstances),
	"DescribeRegions":                      query.Handle((*Server).describeRegions),
	"DescribeSnapshots":                    query.Handle((*Server).describeSnapshots),
	"DescribeVolumes":                      query.Handle((*Server).describeVolumes),
	"GetConsoleOutput":                     query.Handle((*Server).getConsoleOutput),
	"GetPasswordData":                      query.Handle((*Server).getPasswordData),
	"ModifyImageAttribute":                 query.Handle((*Server).modifyImageAttribute),
	"ModifyInstanceAttribute":              query.Handle((*Server).modifyInstanceAttribute),
	"ModifyInstanceCreditSpecification":    query.Handle((*Server).modifyInstanceCreditSpecification),
	"ModifyInstanceMaintenanceOptions":     query.Handle((*Server).modifyInstanceMaintenanceOptions),
	"ModifyInstanceMetadataOptions":        query.Handle((*Server).modifyInstanceMetadataOptions),
	"MonitorInstances":                     query.Handle((*Server).monitorInstances),
	"RebootInstances":                      query.Handle((*Server).rebootInstances),
	"RegisterImage":                        query.Handle((*Server).registerImage),
	"RunInstances":                         query.Handle((*Server).runInstances),
	"StartInstances":                       query.Handle((*Server).startInstances),
	"StopInstances":                        query.Handle((*Server).stopInstances),
	"TerminateInstances":                   query.Handle((*Server).terminateInstances),
	"UnmonitorInstances":                   query.Handle((*Server).unmonitorInstances),
}
