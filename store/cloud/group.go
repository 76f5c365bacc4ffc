package cloud

import (
	"net/netip"
	"time"
)

// A Group is a security group: stateful filters around interfaces.
type Group struct {
	ID          string
	AccountID   string
	Name        string
	Description string
	VpcID       string
	Rules       []Rule
	Created     time.Time
}

// A Rule allows traffic to (or, Egress, from) the members of a Group. Exactly
// one of CIDR, PrefixListID and GroupID names the peer. Each has an id of its
// own, as in DescribeSecurityGroupRules.
type Rule struct {
	ID           string // "sgr-…"
	Egress       bool   `json:",omitempty"`
	Protocol     int    // IP protocol number; -1 for all
	From, To     int    // ports; ICMP type and code; -1 for any
	CIDR         netip.Prefix
	GroupID      string `json:",omitempty"`
	GroupOwner   string `json:",omitempty"` // account of GroupID
	PrefixListID string `json:",omitempty"`
	Description  string `json:",omitempty"`
}

// Same reports whether two rules allow the same thing.
func (r Rule) Same(o Rule) bool {
	return r.Egress == o.Egress && r.Protocol == o.Protocol && r.From == o.From && r.To == o.To &&
		r.CIDR == o.CIDR && r.GroupID == o.GroupID && r.PrefixListID == o.PrefixListID
}
