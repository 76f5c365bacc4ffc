package simtest

import (
	"fmt"
	"slices"
	"strings"
)

// A client uses the cloud as the seed says, and remembers what it was told.
type client struct {
	w         *world
	instances []owned
	groups    []owned
	elastic   []owned
	tokens    map[string]string // ClientToken → ids that it launched
	calls     int
}

type owned struct{ account, id string }

// step makes one call. Refusals are fine: they are a named failure.
func (c *client) step() {
	r, f := c.w.rand, c.w.front
	account := f.accounts[r.IntN(len(f.accounts))]
	switch r.IntN(14) {
	case 0, 1, 2, 3:
		c.launch(account)
	case 4:
		c.each("StopInstances", "Force", fmt.Sprint(r.IntN(3) == 0))
	case 5, 6:
		c.each("StartInstances")
	case 7:
		c.each("RebootInstances")
	case 8, 9:
		c.each("TerminateInstances")
	case 10:
		c.calls++
		code, body := c.do(account, "CreateSecurityGroup", "GroupName", fmt.Sprint("group", c.calls), "GroupDescription", "a group")
		if code == 200 {
			c.groups = append(c.groups, owned{account, all(groupID, body)[0]})
		}
	case 11:
		if g, ok := pick(c, c.groups); ok {
			c.do(g.account, []string{"AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"}[r.IntN(2)], "GroupId", g.id,
				"IpPermissions.1.IpProtocol", "tcp", "IpPermissions.1.FromPort", fmt.Sprint(20+r.IntN(5)), "IpPermissions.1.ToPort", "30",
				"IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8")
		}
	case 12:
		i, ok := pick(c, c.instances)
		g, some := pick(c, c.groups)
		if ok && some && i.account == g.account {
			c.do(i.account, "ModifyInstanceAttribute", "InstanceId", i.id, "GroupId.1", g.id)
		}
	case 13:
		c.address(account)
	}
}

// launch asks for instances; the answer may get lost, and the call be made again.
func (c *client) launch(account string) {
	c.calls++
	r, token := c.w.rand, fmt.Sprint("token", c.calls)
	args := []string{"ImageId", c.w.front.image, "InstanceType", []string{"t2.nano", "t2.micro", "t2.medium"}[r.IntN(3)],
		"MinCount", "1", "MaxCount", fmt.Sprint(1 + r.IntN(3)), "ClientToken", token}
	if r.IntN(2) == 0 {
		args = append(args, "Placement.AvailabilityZone", c.w.hosts[r.IntN(len(c.w.hosts))].row.Zone)
	}
	if r.IntN(4) == 0 {
		args = append(args, "InstanceInitiatedShutdownBehavior", "terminate")
	}
	code, body := c.do(account, "RunInstances", args...)
	if code != 200 {
		return
	}
	ids := all(instanceID, body)
	c.tokens[account+token] = strings.Join(ids, " ")
	for _, id := range ids {
		c.instances = append(c.instances, owned{account, id})
	}
	for r.IntN(3) == 0 {
		if r.IntN(4) == 0 {
			c.w.restartFrontEnd()
		}
		code, body := c.do(account, "RunInstances", args...)
		if got := strings.Join(all(instanceID, body), " "); code != 200 || got != c.tokens[account+token] {
			c.w.failf("the token %s launched %s, and then %d %s", token, c.tokens[account+token], code, got)
		}
	}
}

func (c *client) each(action string, args ...string) {
	if i, ok := pick(c, c.instances); ok {
		c.do(i.account, action, append(args, "InstanceId.1", i.id)...)
	}
}

func (c *client) address(account string) {
	a, some := pick(c, c.elastic)
	i, ok := pick(c, c.instances)
	switch {
	case c.w.rand.IntN(3) == 0 || !some:
		group := region
		if c.w.rand.IntN(3) == 0 {
			group = "test-1b"
		}
		if code, body := c.do(account, "AllocateAddress", "Domain", "vpc", "NetworkBorderGroup", group); code == 200 {
			c.elastic = append(c.elastic, owned{account, all(allocationID, body)[0]})
		}
	case c.w.rand.IntN(4) == 0:
		if code, _ := c.do(a.account, "ReleaseAddress", "AllocationId", a.id); code == 200 {
			c.elastic = slices.DeleteFunc(c.elastic, func(o owned) bool { return o == a })
		}
	case ok && a.account == i.account:
		c.do(i.account, "AssociateAddress", "InstanceId", i.id, "AllocationId", a.id, "AllowReassociation", "true")
	}
}

// do makes a call. The cloud may refuse it; it may not fail.
func (c *client) do(account, action string, args ...string) (int, string) {
	code, body := c.w.front.call(account, action, args...)
	fault := ""
	if code != 200 {
		fault = strings.Join(all(faultCode, body), " ")
	}
	c.w.logf("%s %v: %d %s", action, args, code, fault)
	if code >= 500 && fault != "InsufficientInstanceCapacity" && fault != "InsufficientAddressCapacity" {
		c.w.failf("%s %v: %d %s", action, args, code, body)
	}
	return code, body
}

func pick[T any](c *client, from []T) (v T, ok bool) {
	if len(from) == 0 {
		return v, false
	}
	// The younger ones more often: the old are mostly gone.
	return from[max(c.w.rand.IntN(len(from)), c.w.rand.IntN(len(from)))], true
}
