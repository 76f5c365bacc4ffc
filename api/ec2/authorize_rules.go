package ec2

import (
	"context"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// authorizeSecurityGroupIngress lets traffic in to the members of a group.
func (s *Server) authorizeSecurityGroupIngress(ctx context.Context, in *wire.AuthorizeSecurityGroupIngressInput) (*wire.AuthorizeSecurityGroupIngressOutput, error) {
	rules, err := s.authorize(ctx, &ruleRequest{
		groupID: in.GroupId, groupName: in.GroupName, permissions: in.IpPermissions,
		protocol: in.IpProtocol, from: in.FromPort, to: in.ToPort, cidr: in.CidrIp,
		sourceName: in.SourceSecurityGroupName, sourceOwner: in.SourceSecurityGroupOwnerId,
	}, in.TagSpecifications)
	return &wire.AuthorizeSecurityGroupIngressOutput{Return: query.Ptr(true), SecurityGroupRules: rules}, err
}

// authorizeSecurityGroupEgress lets traffic out from the members of a group.
func (s *Server) authorizeSecurityGroupEgress(ctx context.Context, in *wire.AuthorizeSecurityGroupEgressInput) (*wire.AuthorizeSecurityGroupEgressOutput, error) {
	rules, err := s.authorize(ctx, &ruleRequest{
		egress: true, groupID: in.GroupId, permissions: in.IpPermissions,
		protocol: in.IpProtocol, from: in.FromPort, to: in.ToPort, cidr: in.CidrIp,
		sourceName: in.SourceSecurityGroupName, sourceOwner: in.SourceSecurityGroupOwnerId,
	}, in.TagSpecifications)
	return &wire.AuthorizeSecurityGroupEgressOutput{Return: query.Ptr(true), SecurityGroupRules: rules}, err
}

func (s *Server) authorize(ctx context.Context, q *ruleRequest, specs []wire.TagSpecification) ([]wire.SecurityGroupRule, error) {
	asked, err := q.rules()
	if err != nil {
		return nil, err
	}
	if len(asked) == 0 {
		return nil, missing("IpPermissions")
	}
	tags, err := readTagSpecifications(specs, "security-group-rule")
	if err != nil {
		return nil, err
	}
	var out []wire.SecurityGroupRule
	err = s.DB.Write(ctx, func(tx store.Tx) error {
		g, err := findGroup(ctx, tx.Rx, q.groupID, q.groupName)
		if err != nil {
			return err
		}
		rules, err := resolvePeers(ctx, tx.Rx, &g, asked)
		if err != nil {
			return err
		}
		if err := addRules(&g, rules); err != nil {
			return err
		}
		if err := tx.PutGroup(ctx, g); err != nil {
			return err
		}
		out = make([]wire.SecurityGroupRule, len(rules))
		for i := range rules {
			if err := tags.put(ctx, tx, g.AccountID, "security-group-rule", rules[i].ID); err != nil {
				return err
			}
			out[i] = s.wireRule(&g, &rules[i], tags["security-group-rule"])
		}
		return tx.Audit(ctx)
	})
	return out, err
}

// revokeSecurityGroupIngress removes rules that let traffic in.
func (s *Server) revokeSecurityGroupIngress(ctx context.Context, in *wire.RevokeSecurityGroupIngressInput) (*wire.RevokeSecurityGroupIngressOutput, error) {
	gone, err := s.revoke(ctx, &ruleRequest{
		groupID: in.GroupId, groupName: in.GroupName, permissions: in.IpPermissions, ruleIDs: in.SecurityGroupRuleIds,
		protocol: in.IpProtocol, from: in.FromPort, to: in.ToPort, cidr: in.CidrIp,
		sourceName: in.SourceSecurityGroupName, sourceOwner: in.SourceSecurityGroupOwnerId,
	})
	return &wire.RevokeSecurityGroupIngressOutput{Return: query.Ptr(true), RevokedSecurityGroupRules: gone}, err
}

// revokeSecurityGroupEgress removes rules that let traffic out.
func (s *Server) revokeSecurityGroupEgress(ctx context.Context, in *wire.RevokeSecurityGroupEgressInput) (*wire.RevokeSecurityGroupEgressOutput, error) {
	gone, err := s.revoke(ctx, &ruleRequest{
		egress: true, groupID: in.GroupId, permissions: in.IpPermissions, ruleIDs: in.SecurityGroupRuleIds,
		protocol: in.IpProtocol, from: in.FromPort, to: in.ToPort, cidr: in.CidrIp,
		sourceName: in.SourceSecurityGroupName, sourceOwner: in.SourceSecurityGroupOwnerId,
	})
	return &wire.RevokeSecurityGroupEgressOutput{Return: query.Ptr(true), RevokedSecurityGroupRules: gone}, err
}

// revoke removes all the rules that the request names, or none when one of
// them does not exist.
func (s *Server) revoke(ctx context.Context, q *ruleRequest) ([]wire.RevokedSecurityGroupRule, error) {
	asked, err := q.rules()
	if err != nil {
		return nil, err
	}
	switch {
	case len(asked) == 0 && len(q.ruleIDs) == 0:
		return nil, missing("IpPermissions")
	case len(asked) > 0 && len(q.ruleIDs) > 0:
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameters securityGroupRuleIds and ipPermissions cannot be used together.")
	}
	if err := checkIDs("sgr", q.ruleIDs...); err != nil {
		return nil, err
	}
	var out []wire.RevokedSecurityGroupRule
	err = s.DB.Write(ctx, func(tx store.Tx) error {
		g, err := findGroup(ctx, tx.Rx, q.groupID, q.groupName)
		if err != nil {
			return err
		}
		rules, err := resolvePeers(ctx, tx.Rx, &g, asked)
		if err != nil {
			return err
		}
		gone, err := takeRules(&g, q.egress, q.ruleIDs, rules)
		if err != nil {
			return err
		}
		if err := tx.PutGroup(ctx, g); err != nil {
			return err
		}
		out = make([]wire.RevokedSecurityGroupRule, len(gone))
		for i := range gone {
			out[i] = wireRevoked(&g, &gone[i])
		}
		if err := dropRuleTags(ctx, tx, g.AccountID, gone); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return out, err
}

// dropRuleTags removes the tags of rules that go.
func dropRuleTags(ctx context.Context, tx store.Tx, account string, rules []cloud.Rule) error {
	if len(rules) == 0 {
		return nil
	}
	gone := make(map[string]bool, len(rules))
	for i := range rules {
		gone[rules[i].ID] = true
	}
	tags, err := tx.Tags(ctx, account, "sgr-")
	if err != nil {
		return err
	}
	for _, t := range tags {
		if !gone[t.ResourceID] {
			continue
		}
		if err := tx.DeleteTag(ctx, account, t.ResourceID, t.Key); err != nil {
			return err
		}
	}
	return nil
}
