package ec2

import (
	"context"
	"strconv"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

func aclID(a *cloud.Acl) string { return a.ID }

// describeNetworkAcls tells about network ACLs.
func (s *Server) describeNetworkAcls(ctx context.Context, in *wire.DescribeNetworkAclsInput) (*wire.DescribeNetworkAclsOutput, error) {
	sel := selection{prefix: "acl", ids: in.NetworkAclIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken}
	page, next, err := choose(ctx, s.DB, sel, aclFilters, aclID, func(rx store.Rx) ([]cloud.Acl, error) {
		return rx.Acls(ctx, account(ctx), in.NetworkAclIds...)
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeNetworkAclsOutput{NextToken: next, NetworkAcls: make([]wire.NetworkAcl, len(page))}
	for n := range page {
		a := &page[n].v
		w := wire.NetworkAcl{NetworkAclId: &a.ID, VpcId: &a.VpcID, IsDefault: &a.Default, OwnerId: &a.AccountID, Tags: wireTags(page[n].tags)}
		for i := range a.Entries {
			w.Entries = append(w.Entries, wireEntry(&a.Entries[i]))
		}
		for i := range a.Associations {
			w.Associations = append(w.Associations, wire.NetworkAclAssociation{NetworkAclAssociationId: &a.Associations[i].ID, NetworkAclId: &a.ID, SubnetId: &a.Associations[i].SubnetID})
		}
		out.NetworkAcls[n] = w
	}
	return out, nil
}

// wireEntry returns an entry as EC2 shows it: its protocol is a number always.
func wireEntry(e *cloud.AclEntry) wire.NetworkAclEntry {
	w := wire.NetworkAclEntry{RuleNumber: &e.Number, Protocol: query.Ptr(strconv.Itoa(e.Protocol)), RuleAction: query.Ptr(ruleAction(e)), Egress: &e.Egress}
	if c := query.Ptr(e.CIDR.String()); e.CIDR.Addr().Is4() {
		w.CidrBlock = c
	} else {
		w.Ipv6CidrBlock = c
	}
	from, to := query.Ptr(int64(e.From)), query.Ptr(int64(e.To))
	switch e.Protocol {
	case tcp, udp:
		w.PortRange = &wire.PortRange{From: from, To: to}
	case icmp, icmpv6:
		w.IcmpTypeCode = &wire.IcmpTypeCode{Type: from, Code: to}
	}
	return w
}

func ruleAction(e *cloud.AclEntry) string {
	if e.Allow {
		return "allow"
	}
	return "deny"
}

// aclFilters are EC2's filters for network ACLs.
var aclFilters = func() query.Fields[tagged[cloud.Acl]] {
	entries := func(get func(*cloud.AclEntry) string) func(tagged[cloud.Acl]) []string {
		return fields(func(a *cloud.Acl) []string { return each(a.Entries, get) })
	}
	associations := func(get func(*cloud.AclAssociation) string) func(tagged[cloud.Acl]) []string {
		return fields(func(a *cloud.Acl) []string { return each(a.Associations, get) })
	}
	of := func(get func(*cloud.AclEntry) int, protocols ...int) func(tagged[cloud.Acl]) []string {
		return entries(func(e *cloud.AclEntry) string {
			if e.Protocol != protocols[0] && e.Protocol != protocols[1] {
				return ""
			}
			return strconv.Itoa(get(e))
		})
	}
	from, to := func(e *cloud.AclEntry) int { return e.From }, func(e *cloud.AclEntry) int { return e.To }
	cidr := func(v4 bool) func(tagged[cloud.Acl]) []string {
		return entries(func(e *cloud.AclEntry) string {
			if e.CIDR.Addr().Is4() != v4 {
				return ""
			}
			return e.CIDR.String()
		})
	}
	return query.Fields[tagged[cloud.Acl]]{
		"association.association-id": associations(func(a *cloud.AclAssociation) string { return a.ID }),
		"association.network-acl-id": field(aclID),
		"association.subnet-id":      associations(func(a *cloud.AclAssociation) string { return a.SubnetID }),
		"default":                    truth(func(a *cloud.Acl) bool { return a.Default }),
		"entry.cidr":                 cidr(true),
		"entry.ipv6-cidr":            cidr(false),
		"entry.egress":               entries(func(e *cloud.AclEntry) string { return strconv.FormatBool(e.Egress) }),
		"entry.icmp.code":            of(to, icmp, icmpv6),
		"entry.icmp.type":            of(from, icmp, icmpv6),
		"entry.port-range.from":      of(from, tcp, udp),
		"entry.port-range.to":        of(to, tcp, udp),
		"entry.protocol":             entries(func(e *cloud.AclEntry) string { return strconv.Itoa(e.Protocol) }),
		"entry.rule-action":          entries(ruleAction),
		"entry.rule-number":          entries(func(e *cloud.AclEntry) string { return strconv.FormatInt(e.Number, 10) }),
		"network-acl-id":             field(aclID),
		"owner-id":                   field(func(a *cloud.Acl) string { return a.AccountID }),
		"vpc-id":                     field(func(a *cloud.Acl) string { return a.VpcID }),
	}
}()
