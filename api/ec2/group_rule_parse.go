package ec2

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store/cloud"
)

// Limits of security groups. EC2's own default is 60 rules a group and 2500
// groups; its most is 1000 rules an interface. Ours are bound by what one row holds.
const (
	maxRules       = 10_000 // of a group, in each direction
	maxGroupCount  = 2500   // groups of an account
	maxGroupText   = 255    // characters of a name or description
	groupTextChars = "a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
)

// Protocol numbers that EC2 has names for.
const (
	anyProtocol = -1
	icmp        = 1
	tcp         = 6
	udp         = 17
	icmpv6      = 58
)

// An askedRule is a rule as a request names it: its peer group may be known by
// name only, and nobody has checked yet that it exists.
type askedRule struct {
	cloud.Rule
	groupName string
}

// A ruleKey is what makes a rule the same as another; see cloud.Rule.Same.
type ruleKey struct {
	egress             bool
	protocol, from, to int
	cidr               netip.Prefix
	group, list        string
}

func keyOf(r *cloud.Rule) ruleKey {
	return ruleKey{r.Egress, r.Protocol, r.From, r.To, r.CIDR, r.GroupID, r.PrefixListID}
}

// parsePermissions reads the IpPermissions of a request: a rule for each peer.
func parsePermissions(in []wire.IpPermission, egress bool) ([]askedRule, error) {
	var out []askedRule
	for i := range in {
		p := &in[i]
		base := cloud.Rule{Egress: egress}
		var err error
		if base.Protocol, base.From, base.To, err = parseTraffic(query.Val(p.IpProtocol), p.FromPort, p.ToPort); err != nil {
			return nil, err
		}
		if len(p.PrefixListIds) > 0 {
			return nil, unsupported("A prefix list as the peer of a rule")
		}
		before := len(out)
		for _, r := range p.IpRanges {
			if out, err = appendRange(out, base, r.CidrIp, r.Description, false); err != nil {
				return nil, err
			}
		}
		for _, r := range p.Ipv6Ranges {
			if out, err = appendRange(out, base, r.CidrIpv6, r.Description, true); err != nil {
				return nil, err
			}
		}
		for _, pair := range p.UserIdGroupPairs {
			a, err := parsePair(base, pair)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
		if len(out) == before {
			return nil, cloud.Faultf("MissingParameter", "A permission must name its peers: IpRanges, Ipv6Ranges or Groups")
		}
	}
	return out, nil
}

func appendRange(out []askedRule, base cloud.Rule, cidr, description *string, v6 bool) ([]askedRule, error) {
	a := askedRule{Rule: base}
	var err error
	if a.CIDR, err = parseCIDR(query.Val(cidr), v6); err != nil {
		return nil, err
	}
	a.Description = query.Val(description)
	return append(out, a), checkRuleDescription(a.Description)
}

func parsePair(base cloud.Rule, pair wire.UserIdGroupPair) (askedRule, error) {
	a := askedRule{Rule: base, groupName: query.Val(pair.GroupName)}
	a.GroupID, a.GroupOwner, a.Description = query.Val(pair.GroupId), query.Val(pair.UserId), query.Val(pair.Description)
	switch {
	case query.Val(pair.VpcPeeringConnectionId) != "":
		return a, unsupported("A group behind a VPC peering connection")
	case a.GroupID == "" && a.groupName == "":
		return a, cloud.Faultf("MissingParameter", "A peer group must have a GroupId or a GroupName")
	case a.GroupID != "":
		a.groupName = "" // the id says it all; boto 2 sends both
		if err := checkIDs("sg", a.GroupID); err != nil {
			return a, err
		}
	}
	return a, checkRuleDescription(a.Description)
}

// parseTraffic reads protocol and ports, or ICMP type and code, in the form
// that cloud.Rule keeps: -1 for all, and no ports for protocols without them.
func parseTraffic(name string, from, to *int64) (protocol, low, high int, err error) {
	if protocol, err = parseProtocol(name); err != nil {
		return 0, 0, 0, err
	}
	switch protocol {
	case tcp, udp:
		if from == nil || to == nil {
			return 0, 0, 0, cloud.Faultf("InvalidParameterValue", "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
		}
		for _, port := range []int64{*from, *to} {
			if port < 0 || port > 65535 {
				return 0, 0, 0, cloud.Faultf("InvalidParameterValue", "TCP/UDP port (%d) out of range", port)
			}
		}
		if *from > *to {
			return 0, 0, 0, cloud.Faultf("InvalidParameterValue", "Invalid TCP/UDP port range (%d:%d)", *from, *to)
		}
		return protocol, int(*from), int(*to), nil
	case icmp, icmpv6:
		if protocol == icmp && (from == nil || to == nil) {
			return 0, 0, 0, cloud.Faultf("InvalidParameterValue", "Invalid value 'Must specify both type and code with ICMP.' for portRange.")
		}
		kind, code := int64(-1), int64(-1)
		if from != nil {
			kind = *from
		}
		if to != nil {
			code = *to
		}
		switch {
		case kind < -1 || kind > 255:
			return 0, 0, 0, cloud.Faultf("InvalidParameterValue", "ICMP type (%d) out of range", kind)
		case code < -1 || code > 255:
			return 0, 0, 0, cloud.Faultf("InvalidParameterValue", "ICMP code (%d) out of range", code)
		case kind == -1 && code != -1:
			return 0, 0, 0, cloud.Faultf("InvalidParameterValue", "ICMP code (%d) without a type: all types have all codes.", code)
		}
		return protocol, int(kind), int(code), nil
	}
	// EC2 docs of IpPermission: for any other protocol all ports are allowed,
	// whatever range the request has.
	return protocol, -1, -1, nil
}

func parseProtocol(name string) (int, error) {
	switch strings.ToLower(name) {
	case "":
		return 0, missing("IpProtocol")
	case "tcp":
		return tcp, nil
	case "udp":
		return udp, nil
	case "icmp":
		return icmp, nil
	case "icmpv6":
		return icmpv6, nil
	case "-1", "all":
		return anyProtocol, nil
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, cloud.Faultf("InvalidParameterValue", "Invalid value '%s' for IP protocol. Unknown protocol.", clip(name))
	}
	return int(n), nil
}

// parseCIDR reads an address range, in canonical form: EC2 takes 100.68.0.18/18
// for 100.68.0.0/18.
func parseCIDR(s string, v6 bool) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4() == v6 || p.Addr().Is4In6() {
		if s == "" {
			return netip.Prefix{}, missing("CidrIp")
		}
		return netip.Prefix{}, cloud.Faultf("InvalidParameterValue", "CIDR block %s is malformed", clip(s))
	}
	return p.Masked(), nil
}

func checkRuleDescription(s string) error {
	if !groupText(s) {
		return cloud.Faultf("InvalidParameterValue", "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: %s", groupTextChars)
	}
	return nil
}

// groupText reports whether s may be a name or description of a group.
func groupText(s string) bool {
	if utf8.RuneCountInString(s) > maxGroupText {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte(". _-:/()#,@[]+=&;{}!$*", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// ruleText says what a rule allows, in the words of EC2's errors.
func ruleText(r *cloud.Rule) string {
	peer := r.GroupID
	if r.CIDR.IsValid() {
		peer = r.CIDR.String()
	}
	what := "ALL"
	switch r.Protocol {
	case anyProtocol:
	case tcp, udp:
		what = fmt.Sprintf("%s, from port: %d, to port: %d", strings.ToUpper(protocolName(r.Protocol)), r.From, r.To)
	case icmp, icmpv6:
		what = fmt.Sprintf("%s, type: %d, code: %d", strings.ToUpper(protocolName(r.Protocol)), r.From, r.To)
	default:
		what = "protocol: " + protocolName(r.Protocol)
	}
	return "peer: " + peer + ", " + what + ", ALLOW"
}
