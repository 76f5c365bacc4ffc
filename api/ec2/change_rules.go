package ec2

import (
	"context"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// modifySecurityGroupRules replaces what rules allow; they keep their ids.
func (s *Server) modifySecurityGroupRules(ctx context.Context, in *wire.ModifySecurityGroupRulesInput) (*wire.ModifySecurityGroupRulesOutput, error) {
	if len(in.SecurityGroupRules) == 0 {
		return nil, missing("SecurityGroupRule")
	}
	asked := make([]askedRule, len(in.SecurityGroupRules))
	for i, u := range in.SecurityGroupRules {
		id := query.Val(u.SecurityGroupRuleId)
		switch {
		case id == "":
			return nil, missing("SecurityGroupRule.SecurityGroupRuleId")
		case u.SecurityGroupRule == nil:
			return nil, missing("SecurityGroupRule.SecurityGroupRule")
		}
		if err := checkIDs("sgr", id); err != nil {
			return nil, err
		}
		list, err := parsePermissions([]wire.IpPermission{permissionOf(u.SecurityGroupRule)}, false)
		if err != nil {
			return nil, err
		}
		if len(list) != 1 {
			return nil, cloud.Faultf("InvalidParameterCombination", "Rule '%s' must have exactly one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId.", id)
		}
		asked[i] = list[0]
		asked[i].ID = id
	}
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		g, err := findGroup(ctx, tx.Rx, in.GroupId, nil)
		if err != nil {
			return err
		}
		rules, err := resolvePeers(ctx, tx.Rx, &g, asked)
		if err != nil {
			return err
		}
		if err := replaceRules(&g, rules); err != nil {
			return err
		}
		if err := tx.PutGroup(ctx, g); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return &wire.ModifySecurityGroupRulesOutput{Return: query.Ptr(true)}, err
}

// permissionOf returns the one rule of a request as a permission, which may
// turn out to name no peer or several.
func permissionOf(r *wire.SecurityGroupRuleRequest) wire.IpPermission {
	p := wire.IpPermission{IpProtocol: r.IpProtocol, FromPort: r.FromPort, ToPort: r.ToPort}
	if query.Val(r.CidrIpv4) != "" {
		p.IpRanges = []wire.IpRange{{CidrIp: r.CidrIpv4, Description: r.Description}}
	}
	if query.Val(r.CidrIpv6) != "" {
		p.Ipv6Ranges = []wire.Ipv6Range{{CidrIpv6: r.CidrIpv6, Description: r.Description}}
	}
	if query.Val(r.ReferencedGroupId) != "" {
		p.UserIdGroupPairs = []wire.UserIdGroupPair{{GroupId: r.ReferencedGroupId, Description: r.Description}}
	}
	if query.Val(r.PrefixListId) != "" {
		p.PrefixListIds = []wire.PrefixListId{{PrefixListId: r.PrefixListId}}
	}
	return p
}

// replaceRules puts rules in the place of those that have their ids. A rule
// keeps its direction and the kind of its peer, as on EC2.
func replaceRules(g *cloud.Group, rules []cloud.Rule) error {
	at := ruleIndex(g)
	changed := map[string]bool{}
	for _, r := range rules {
		i, ok := at[r.ID]
		if !ok {
			return cloud.NotFound(r.ID)
		}
		if changed[r.ID] {
			return cloud.Faultf("InvalidParameterValue", "The rule '%s' is named twice.", r.ID)
		}
		changed[r.ID] = true
		was := &g.Rules[i]
		if was.CIDR.IsValid() != r.CIDR.IsValid() || was.CIDR.IsValid() && was.CIDR.Addr().Is4() != r.CIDR.Addr().Is4() {
			return cloud.Faultf("InvalidParameterValue", "The type of the peer of rule '%s' cannot be changed; revoke it and authorize another.", r.ID)
		}
		r.Egress = was.Egress
		*was = r
	}
	seen := make(map[ruleKey]bool, len(g.Rules))
	for i := range g.Rules {
		k := keyOf(&g.Rules[i])
		if seen[k] {
			return cloud.Faultf("InvalidPermission.Duplicate", "the specified rule \"%s\" already exists", ruleText(&g.Rules[i]))
		}
		seen[k] = true
	}
	return nil
}

// updateSecurityGroupRuleDescriptionsIngress changes descriptions of rules only.
func (s *Server) updateSecurityGroupRuleDescriptionsIngress(ctx context.Context, in *wire.UpdateSecurityGroupRuleDescriptionsIngressInput) (*wire.UpdateSecurityGroupRuleDescriptionsIngressOutput, error) {
	q := &ruleRequest{groupID: in.GroupId, groupName: in.GroupName, permissions: in.IpPermissions}
	return &wire.UpdateSecurityGroupRuleDescriptionsIngressOutput{Return: query.Ptr(true)}, s.describeRules(ctx, q, in.SecurityGroupRuleDescriptions)
}

// updateSecurityGroupRuleDescriptionsEgress changes descriptions of rules only.
func (s *Server) updateSecurityGroupRuleDescriptionsEgress(ctx context.Context, in *wire.UpdateSecurityGroupRuleDescriptionsEgressInput) (*wire.UpdateSecurityGroupRuleDescriptionsEgressOutput, error) {
	q := &ruleRequest{egress: true, groupID: in.GroupId, groupName: in.GroupName, permissions: in.IpPermissions}
	return &wire.UpdateSecurityGroupRuleDescriptionsEgressOutput{Return: query.Ptr(true)}, s.describeRules(ctx, q, in.SecurityGroupRuleDescriptions)
}

// describeRules gives rules, named by what they allow or by their ids, the
// descriptions of the request; one without is taken away.
func (s *Server) describeRules(ctx context.Context, q *ruleRequest, byID []wire.SecurityGroupRuleDescription) error {
	asked, err := q.rules()
	if err != nil {
		return err
	}
	if (len(asked) == 0) == (len(byID) == 0) {
		return cloud.Faultf("InvalidParameterCombination", "The request must contain either IpPermissions or SecurityGroupRuleDescriptions.")
	}
	for _, d := range byID {
		if err := checkIDs("sgr", query.Val(d.SecurityGroupRuleId)); err != nil {
			return err
		}
		if err := checkRuleDescription(query.Val(d.Description)); err != nil {
			return err
		}
	}
	return s.DB.Write(ctx, func(tx store.Tx) error {
		g, err := findGroup(ctx, tx.Rx, q.groupID, q.groupName)
		if err != nil {
			return err
		}
		rules, err := resolvePeers(ctx, tx.Rx, &g, asked)
		if err != nil {
			return err
		}
		at, same := ruleIndex(&g), make(map[ruleKey]int, len(g.Rules))
		for i := range g.Rules {
			same[keyOf(&g.Rules[i])] = i
		}
		for i := range rules {
			k, ok := same[keyOf(&rules[i])]
			if !ok {
				return ruleNotFound(&rules[i])
			}
			g.Rules[k].Description = rules[i].Description
		}
		for _, d := range byID {
			k, ok := at[*d.SecurityGroupRuleId]
			if !ok || g.Rules[k].Egress != q.egress {
				return cloud.NotFound(*d.SecurityGroupRuleId)
			}
			g.Rules[k].Description = query.Val(d.Description)
		}
		if err := tx.PutGroup(ctx, g); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
}
