package ec2

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// createSecurityGroup makes a group that lets nothing in and all out.
func (s *Server) createSecurityGroup(ctx context.Context, in *wire.CreateSecurityGroupInput) (*wire.CreateSecurityGroupOutput, error) {
	name, description := query.Val(in.GroupName), query.Val(in.Description)
	switch {
	case name == "":
		return nil, missing("GroupName")
	case description == "":
		return nil, missing("GroupDescription")
	case !groupText(name) || strings.Trim(name, " ") != name:
		return nil, cloud.Faultf("InvalidParameterValue", "Invalid security group name. Valid names are strings less than 256 characters from the following set: %s", groupTextChars)
	case !groupText(description):
		return nil, cloud.Faultf("InvalidParameterValue", "Invalid security group description. Valid descriptions are strings less than 256 characters from the following set: %s", groupTextChars)
	case strings.EqualFold(name, "default"):
		return nil, cloud.Faultf("InvalidParameterValue", "Cannot use reserved security group name: %s", name)
	case strings.HasPrefix(strings.ToLower(name), "sg-"):
		return nil, cloud.Faultf("InvalidParameterValue", "Invalid value '%s' for groupName. Group names may not be in the format sg-*.", name)
	}
	tags, err := readTagSpecifications(in.TagSpecifications, "security-group")
	if err != nil {
		return nil, err
	}
	vpcID := query.Val(in.VpcId)
	if vpcID != "" {
		if err := checkIDs("vpc", vpcID); err != nil {
			return nil, err
		}
	}
	g := cloud.Group{ID: cloud.NewID("sg"), AccountID: account(ctx), Name: name, Description: description, Rules: []cloud.Rule{cloud.AllowAllEgress()}}
	err = s.DB.Write(ctx, func(tx store.Tx) error {
		var v cloud.Vpc
		var err error
		if vpcID == "" {
			v, err = tx.DefaultVpc(ctx, g.AccountID)
		} else {
			v, err = tx.Vpc(ctx, g.AccountID, vpcID)
		}
		if err != nil {
			return err
		}
		g.VpcID, g.Created = v.ID, tx.Now()
		have, err := tx.Groups(ctx, g.AccountID)
		if err != nil {
			return err
		}
		if len(have) >= maxGroupCount {
			return cloud.Faultf("SecurityGroupLimitExceeded", "An account has up to %d security groups; delete one.", maxGroupCount)
		}
		if slices.ContainsFunc(have, func(h cloud.Group) bool { return h.VpcID == v.ID && h.Name == name }) {
			return cloud.Faultf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, v.ID)
		}
		if err := tx.PutGroup(ctx, g); err != nil {
			return err
		}
		if err := tags.put(ctx, tx, g.AccountID, "security-group", g.ID); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	if err != nil {
		return nil, err
	}
	return &wire.CreateSecurityGroupOutput{GroupId: &g.ID, SecurityGroupArn: s.arn(g.AccountID, "security-group", g.ID), Tags: wireTags(tags["security-group"])}, nil
}

// deleteSecurityGroup forgets a group that nothing uses.
func (s *Server) deleteSecurityGroup(ctx context.Context, in *wire.DeleteSecurityGroupInput) (*wire.DeleteSecurityGroupOutput, error) {
	var id string
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		g, err := findGroup(ctx, tx.Rx, in.GroupId, in.GroupName)
		if err != nil {
			return err
		}
		id = g.ID
		if g.Name == "default" {
			return cloud.Faultf("CannotDelete", "the specified group: %q name: \"default\" cannot be deleted by a user", g.ID)
		}
		if err := checkUnused(ctx, tx.Rx, &g); err != nil {
			return err
		}
		if err := dropRuleTags(ctx, tx, g.AccountID, g.Rules); err != nil {
			return err
		}
		if err := tx.DeleteGroup(ctx, g); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return &wire.DeleteSecurityGroupOutput{Return: query.Ptr(true), GroupId: &id}, err
}

// checkUnused returns DependencyViolation when an interface is in the group or
// a rule of another group has it as peer.
func checkUnused(ctx context.Context, rx store.Rx, g *cloud.Group) error {
	users, err := rx.GroupUsers(ctx, g.ID, 1)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return cloud.Faultf("DependencyViolation", "resource %s has a dependent object: the network interface %s", g.ID, users[0])
	}
	others, err := rx.GroupsOfVpc(ctx, g.VpcID)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.ID == g.ID {
			continue
		}
		for i := range o.Rules {
			if o.Rules[i].GroupID == g.ID {
				return cloud.Faultf("DependencyViolation", "resource %s has a dependent object: the rule %s of the security group %s", g.ID, o.Rules[i].ID, o.ID)
			}
		}
	}
	return nil
}

func groupID(g *cloud.Group) string { return g.ID }

// describeSecurityGroups tells about groups and their rules.
func (s *Server) describeSecurityGroups(ctx context.Context, in *wire.DescribeSecurityGroupsInput) (*wire.DescribeSecurityGroupsOutput, error) {
	sel := selection{prefix: "sg", ids: in.GroupIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken}
	if len(in.GroupNames) > 0 {
		if err := checkIDs("sg", in.GroupIds...); err != nil {
			return nil, err
		}
		sel.ids = nil
	}
	names := map[string]string{} // of groups, by id
	page, next, err := choose(ctx, s.DB, sel, groupFilters(names), groupID, func(rx store.Rx) (list []cloud.Group, err error) {
		if len(in.GroupIds) > 0 || len(in.GroupNames) == 0 {
			if list, err = rx.Groups(ctx, account(ctx), in.GroupIds...); err != nil {
				return nil, err
			}
		}
		for _, name := range in.GroupNames {
			g, err := findGroup(ctx, rx, nil, &name)
			if err != nil {
				return nil, err
			}
			list = append(list, g)
		}
		return list, s.readGroupNames(ctx, rx, in.Filters, names)
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeSecurityGroupsOutput{NextToken: next, SecurityGroups: make([]wire.SecurityGroup, len(page))}
	for n := range page {
		g := &page[n].v
		out.SecurityGroups[n] = wire.SecurityGroup{
			OwnerId: &g.AccountID, GroupId: &g.ID, GroupName: &g.Name, Description: &g.Description, VpcId: &g.VpcID,
			IpPermissions: wirePermissions(g.Rules, false), IpPermissionsEgress: wirePermissions(g.Rules, true),
			SecurityGroupArn: s.arn(g.AccountID, "security-group", g.ID), Tags: wireTags(page[n].tags)}
	}
	return out, nil
}

// readGroupNames fills names when a filter needs them.
func (s *Server) readGroupNames(ctx context.Context, rx store.Rx, filters []wire.Filter, names map[string]string) error {
	if !slices.ContainsFunc(filters, func(f wire.Filter) bool { return strings.HasSuffix(query.Val(f.Name), "ip-permission.group-name") }) {
		return nil
	}
	all, err := rx.Groups(ctx, account(ctx))
	for i := range all {
		names[all[i].ID] = all[i].Name
	}
	return err
}

// groupFilters are EC2's filters for security groups.
func groupFilters(names map[string]string) query.Fields[tagged[cloud.Group]] {
	out := query.Fields[tagged[cloud.Group]]{
		"description": field(func(g *cloud.Group) string { return g.Description }),
		"group-id":    field(groupID),
		"group-name":  field(func(g *cloud.Group) string { return g.Name }),
		"owner-id":    field(func(g *cloud.Group) string { return g.AccountID }),
		"vpc-id":      field(func(g *cloud.Group) string { return g.VpcID }),
	}
	for name, get := range map[string]func(*cloud.Rule) string{
		"cidr":           func(r *cloud.Rule) string { return rangeOf(r, true) },
		"ipv6-cidr":      func(r *cloud.Rule) string { return rangeOf(r, false) },
		"from-port":      func(r *cloud.Rule) string { return portOf(r, r.From) },
		"to-port":        func(r *cloud.Rule) string { return portOf(r, r.To) },
		"group-id":       func(r *cloud.Rule) string { return r.GroupID },
		"group-name":     func(r *cloud.Rule) string { return names[r.GroupID] },
		"prefix-list-id": func(r *cloud.Rule) string { return r.PrefixListID },
		"protocol":       func(r *cloud.Rule) string { return protocolName(r.Protocol) },
		"user-id":        func(r *cloud.Rule) string { return r.GroupOwner },
	} {
		of := func(egress bool) func(tagged[cloud.Group]) []string {
			return fields(func(g *cloud.Group) []string {
				return each(g.Rules, func(r *cloud.Rule) string {
					if r.Egress != egress {
						return ""
					}
					return get(r)
				})
			})
		}
		out["ip-permission."+name], out["egress.ip-permission."+name] = of(false), of(true)
	}
	return out
}

func rangeOf(r *cloud.Rule, v4 bool) string {
	if !r.CIDR.IsValid() || r.CIDR.Addr().Is4() != v4 {
		return ""
	}
	return r.CIDR.String()
}

func portOf(r *cloud.Rule, port int) string {
	if !hasPorts(r.Protocol) {
		return ""
	}
	return fmt.Sprint(port)
}

// A groupRule is a rule with the group it belongs to.
type groupRule struct {
	cloud.Rule
	group *cloud.Group
}

func groupRuleID(r *groupRule) string { return r.ID }

// describeSecurityGroupRules tells about rules, of any group.
func (s *Server) describeSecurityGroupRules(ctx context.Context, in *wire.DescribeSecurityGroupRulesInput) (*wire.DescribeSecurityGroupRulesOutput, error) {
	sel := selection{prefix: "sgr", ids: in.SecurityGroupRuleIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken}
	page, next, err := choose(ctx, s.DB, sel, groupRuleFilters, groupRuleID, func(rx store.Rx) ([]groupRule, error) {
		var filters []wire.Filter
		if len(in.SecurityGroupRuleIds) == 0 { // a named rule must exist, in whatever group
			filters = in.Filters
		}
		groups, err := groupsForRules(ctx, rx, filters)
		if err != nil {
			return nil, err
		}
		return pickRules(groups, in.SecurityGroupRuleIds)
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeSecurityGroupRulesOutput{NextToken: next, SecurityGroupRules: make([]wire.SecurityGroupRule, len(page))}
	for n := range page {
		out.SecurityGroupRules[n] = s.wireRule(page[n].v.group, &page[n].v.Rule, page[n].tags)
	}
	return out, nil
}

// groupsForRules returns the groups whose rules can match the filters: only
// the named ones when there is a filter by group.
func groupsForRules(ctx context.Context, rx store.Rx, filters []wire.Filter) ([]cloud.Group, error) {
	ids, ok := exact(filters, "group-id")
	if !ok {
		return rx.Groups(ctx, account(ctx))
	}
	var out []cloud.Group
	for _, id := range ids {
		g, err := rx.Group(ctx, account(ctx), id)
		if cloud.FaultCode(err) == "" && err != nil {
			return nil, err
		}
		if err == nil {
			out = append(out, g)
		}
	}
	return out, nil
}

// pickRules returns the rules ids, each of which must exist, or all when no id is given.
func pickRules(groups []cloud.Group, ids []string) ([]groupRule, error) {
	want := map[string]bool{}
	for _, id := range ids {
		want[id] = true
	}
	var out []groupRule
	for n := range groups {
		for _, r := range groups[n].Rules {
			if len(ids) == 0 || want[r.ID] {
				out = append(out, groupRule{r, &groups[n]})
				delete(want, r.ID)
			}
		}
	}
	for _, id := range ids {
		if want[id] {
			return nil, cloud.NotFound(id)
		}
	}
	return out, nil
}

var groupRuleFilters = query.Fields[tagged[groupRule]]{
	"group-id":               field(func(r *groupRule) string { return r.group.ID }),
	"security-group-rule-id": field(groupRuleID),
}
