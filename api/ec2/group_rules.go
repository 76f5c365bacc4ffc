package ec2

import (
	"context"
	"slices"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// A ruleRequest is what the four calls that add and remove rules have in
// common. The flat members are those of EC2's early days, which old tools
// still send.
type ruleRequest struct {
	egress      bool
	groupID     *string
	groupName   *string
	permissions []wire.IpPermission
	ruleIDs     []string

	protocol    *string
	from, to    *int64
	cidr        *string
	sourceName  *string
	sourceOwner *string
}

// rules returns the rules that the request names by what they allow.
func (q *ruleRequest) rules() ([]askedRule, error) {
	flat := query.Val(q.protocol) != "" || query.Val(q.cidr) != "" || query.Val(q.sourceName) != "" || q.from != nil || q.to != nil
	switch {
	case !flat:
		return parsePermissions(q.permissions, q.egress)
	case len(q.permissions) > 0:
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameter ipPermissions cannot be used with the parameters ipProtocol, fromPort, toPort, cidrIp and sourceSecurityGroupName.")
	case query.Val(q.sourceName) != "" && query.Val(q.cidr) != "":
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameters cidrIp and sourceSecurityGroupName cannot be used together.")
	case query.Val(q.sourceName) == "":
		return parsePermissions([]wire.IpPermission{{IpProtocol: q.protocol, FromPort: q.from, ToPort: q.to, IpRanges: []wire.IpRange{{CidrIp: q.cidr}}}}, q.egress)
	}
	pair := []wire.UserIdGroupPair{{GroupName: q.sourceName, UserId: q.sourceOwner}}
	if cloud.CheckID("sg", *q.sourceName) == nil {
		pair[0].GroupId, pair[0].GroupName = q.sourceName, nil
	}
	if query.Val(q.protocol) != "" {
		return parsePermissions([]wire.IpPermission{{IpProtocol: q.protocol, FromPort: q.from, ToPort: q.to, UserIdGroupPairs: pair}}, q.egress)
	}
	// A source group alone stands for all TCP, UDP and ICMP (EC2 API:
	// AuthorizeSecurityGroupIngress, SourceSecurityGroupName).
	none, low, high := query.Ptr(int64(-1)), query.Ptr(int64(0)), query.Ptr(int64(65535))
	return parsePermissions([]wire.IpPermission{
		{IpProtocol: query.Ptr("tcp"), FromPort: low, ToPort: high, UserIdGroupPairs: pair},
		{IpProtocol: query.Ptr("udp"), FromPort: low, ToPort: high, UserIdGroupPairs: pair},
		{IpProtocol: query.Ptr("icmp"), FromPort: none, ToPort: none, UserIdGroupPairs: pair},
	}, q.egress)
}

// group returns the security group that a request names by id, or by name in
// the default VPC.
func findGroup(ctx context.Context, rx store.Rx, id, name *string) (cloud.Group, error) {
	acct := account(ctx)
	switch {
	case query.Val(id) == "" && query.Val(name) == "":
		return cloud.Group{}, cloud.Faultf("MissingParameter", "The request must contain the parameter groupName or groupId")
	case query.Val(id) != "" && query.Val(name) != "":
		return cloud.Group{}, cloud.Faultf("InvalidParameterCombination", "The parameters groupName and groupId cannot be used together.")
	case query.Val(id) == "" && cloud.CheckID("sg", *name) == nil: // no name begins with sg-
		id = name
	}
	if query.Val(id) != "" {
		if err := checkIDs("sg", *id); err != nil {
			return cloud.Group{}, err
		}
		return rx.Group(ctx, acct, *id)
	}
	v, err := rx.DefaultVpc(ctx, acct)
	if err != nil {
		return cloud.Group{}, err
	}
	return rx.GroupByName(ctx, acct, v.ID, *name)
}

// resolvePeers fills in the ids of the groups that rules of g have as peers:
// they must be in the VPC of g.
func resolvePeers(ctx context.Context, rx store.Rx, g *cloud.Group, asked []askedRule) ([]cloud.Rule, error) {
	out := make([]cloud.Rule, len(asked))
	ids := map[string]string{} // of groups seen, by id and by name
	for i := range asked {
		out[i] = asked[i].Rule
		name := asked[i].groupName
		if out[i].GroupID == "" && name == "" {
			continue
		}
		if owner := out[i].GroupOwner; owner != "" && owner != g.AccountID {
			return nil, cloud.Faultf("InvalidGroup.NotFound", "The security group '%s' of account %s does not exist in VPC '%s'", clip(out[i].GroupID+name), clip(owner), g.VpcID)
		}
		id, ok := ids[out[i].GroupID+name]
		if !ok {
			var err error
			if id, err = peerGroup(ctx, rx, g, out[i].GroupID, name); err != nil {
				return nil, err
			}
			ids[out[i].GroupID+name] = id
		}
		out[i].GroupID, out[i].GroupOwner = id, g.AccountID
	}
	return out, nil
}

func peerGroup(ctx context.Context, rx store.Rx, g *cloud.Group, id, name string) (string, error) {
	if id == "" {
		peer, err := rx.GroupByName(ctx, g.AccountID, g.VpcID, name)
		return peer.ID, err
	}
	peer, err := rx.Group(ctx, g.AccountID, id)
	if err == nil && peer.VpcID != g.VpcID {
		err = cloud.Faultf("InvalidGroup.NotFound", "You have specified two resources that belong to different networks: '%s' is in VPC '%s', '%s' in '%s'.", g.ID, g.VpcID, peer.ID, peer.VpcID)
	}
	return id, err
}

// addRules adds rules to g, each under a new id.
func addRules(g *cloud.Group, rules []cloud.Rule) error {
	fresh := make(map[ruleKey]bool, len(rules)) // not of all in g, which may be many more
	count := map[bool]int{}
	for i := range rules {
		k := keyOf(&rules[i])
		if fresh[k] {
			return cloud.Faultf("InvalidParameterValue", "The same permission must not appear multiple times: %s", ruleText(&rules[i]))
		}
		fresh[k] = true
		rules[i].ID = cloud.NewID("sgr")
		count[rules[i].Egress]++
	}
	for i := range g.Rules {
		if fresh[keyOf(&g.Rules[i])] {
			return cloud.Faultf("InvalidPermission.Duplicate", "the specified rule \"%s\" already exists", ruleText(&g.Rules[i]))
		}
		count[g.Rules[i].Egress]++
	}
	if max(count[false], count[true]) > maxRules {
		return cloud.Faultf("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached: %d in each direction.", maxRules)
	}
	g.Rules = append(g.Rules, rules...)
	return nil
}

// takeRules removes the rules of these ids from g, and those that are the same
// as rules. Each must be there.
func takeRules(g *cloud.Group, egress bool, ids []string, rules []cloud.Rule) ([]cloud.Rule, error) {
	gone := make(map[ruleKey]bool, len(ids)+len(rules))
	at := ruleIndex(g)
	for _, id := range ids {
		i, ok := at[id]
		if !ok {
			return nil, cloud.NotFound(id)
		}
		if g.Rules[i].Egress != egress {
			return nil, cloud.Faultf("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist among the %s rules of '%s'", id, direction(egress), g.ID)
		}
		gone[keyOf(&g.Rules[i])] = true
	}
	have := make(map[ruleKey]bool, len(g.Rules))
	for i := range g.Rules {
		have[keyOf(&g.Rules[i])] = true
	}
	for i := range rules {
		k := keyOf(&rules[i])
		if !have[k] {
			return nil, ruleNotFound(&rules[i])
		}
		gone[k] = true
	}
	var taken []cloud.Rule
	g.Rules = slices.DeleteFunc(slices.Clone(g.Rules), func(r cloud.Rule) bool {
		if !gone[keyOf(&r)] {
			return false
		}
		taken = append(taken, r)
		return true
	})
	return taken, nil
}

// ruleIndex tells where in a group each rule is.
func ruleIndex(g *cloud.Group) map[string]int {
	at := make(map[string]int, len(g.Rules))
	for i := range g.Rules {
		at[g.Rules[i].ID] = i
	}
	return at
}

func ruleNotFound(r *cloud.Rule) error {
	return cloud.Faultf("InvalidPermission.NotFound", "The specified rule does not exist in this security group: %s", ruleText(r))
}

func direction(egress bool) string {
	if egress {
		return "egress"
	}
	return "ingress"
}
