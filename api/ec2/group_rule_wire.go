package ec2

import (
	"strconv"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store/cloud"
)

// protocolName is how answers write a protocol.
func protocolName(n int) string {
	switch n {
	case tcp:
		return "tcp"
	case udp:
		return "udp"
	case icmp:
		return "icmp"
	case icmpv6:
		return "icmpv6"
	}
	return strconv.Itoa(n)
}

// hasPorts reports whether rules of a protocol have ports, or type and code.
func hasPorts(protocol int) bool {
	return protocol == tcp || protocol == udp || protocol == icmp || protocol == icmpv6
}

// wirePermissions returns rules as the IpPermissions of one direction: those
// that differ in their peer only become one, as with EC2.
func wirePermissions(rules []cloud.Rule, egress bool) []wire.IpPermission {
	type class struct{ protocol, from, to int }
	at := map[class]int{}
	var out []wire.IpPermission
	for n := range rules {
		r := &rules[n]
		if r.Egress != egress {
			continue
		}
		c := class{r.Protocol, r.From, r.To}
		i, ok := at[c]
		if !ok {
			i = len(out)
			at[c] = i
			p := wire.IpPermission{IpProtocol: query.Ptr(protocolName(r.Protocol))}
			if hasPorts(r.Protocol) {
				p.FromPort, p.ToPort = query.Ptr(int64(r.From)), query.Ptr(int64(r.To))
			}
			out = append(out, p)
		}
		addPeer(&out[i], r)
	}
	return out
}

func addPeer(p *wire.IpPermission, r *cloud.Rule) {
	description := opt(r.Description)
	switch {
	case r.GroupID != "":
		p.UserIdGroupPairs = append(p.UserIdGroupPairs, wire.UserIdGroupPair{UserId: &r.GroupOwner, GroupId: &r.GroupID, Description: description})
	case r.PrefixListID != "":
		p.PrefixListIds = append(p.PrefixListIds, wire.PrefixListId{PrefixListId: &r.PrefixListID, Description: description})
	case r.CIDR.Addr().Is4():
		p.IpRanges = append(p.IpRanges, wire.IpRange{CidrIp: query.Ptr(r.CIDR.String()), Description: description})
	default:
		p.Ipv6Ranges = append(p.Ipv6Ranges, wire.Ipv6Range{CidrIpv6: query.Ptr(r.CIDR.String()), Description: description})
	}
}

// wireCIDRs returns the range of a rule in the one of two members that fits.
func wireCIDRs(r *cloud.Rule) (v4, v6 *string) {
	switch {
	case !r.CIDR.IsValid():
		return nil, nil
	case r.CIDR.Addr().Is4():
		return query.Ptr(r.CIDR.String()), nil
	}
	return nil, query.Ptr(r.CIDR.String())
}

// wireRule returns a rule of group g as DescribeSecurityGroupRules shows it.
func (s *Server) wireRule(g *cloud.Group, r *cloud.Rule, tags []cloud.Tag) wire.SecurityGroupRule {
	w := wire.SecurityGroupRule{
		SecurityGroupRuleId:  &r.ID,
		SecurityGroupRuleArn: s.arn(g.AccountID, "security-group-rule", r.ID),
		GroupId:              &g.ID,
		GroupOwnerId:         &g.AccountID,
		IsEgress:             &r.Egress,
		IpProtocol:           query.Ptr(protocolName(r.Protocol)),
		FromPort:             query.Ptr(int64(r.From)),
		ToPort:               query.Ptr(int64(r.To)),
		PrefixListId:         opt(r.PrefixListID),
		Description:          opt(r.Description),
		Tags:                 wireTags(tags),
	}
	w.CidrIpv4, w.CidrIpv6 = wireCIDRs(r)
	if r.GroupID != "" {
		w.ReferencedGroupInfo = &wire.ReferencedSecurityGroup{GroupId: &r.GroupID, UserId: &r.GroupOwner}
	}
	return w
}

// wireRevoked returns a rule of group g that is no more.
func wireRevoked(g *cloud.Group, r *cloud.Rule) wire.RevokedSecurityGroupRule {
	w := wire.RevokedSecurityGroupRule{
		SecurityGroupRuleId: &r.ID,
		GroupId:             &g.ID,
		IsEgress:            &r.Egress,
		IpProtocol:          query.Ptr(protocolName(r.Protocol)),
		FromPort:            query.Ptr(int64(r.From)),
		ToPort:              query.Ptr(int64(r.To)),
		ReferencedGroupId:   opt(r.GroupID),
		PrefixListId:        opt(r.PrefixListID),
		Description:         opt(r.Description),
	}
	w.CidrIpv4, w.CidrIpv6 = wireCIDRs(r)
	return w
}
