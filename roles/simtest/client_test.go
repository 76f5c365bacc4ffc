package simtest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"eucad/store/cloud"
)

// A client uses the cloud as the seed says, and remembers what it was told.
type client struct {
	w         *world
	instances []owned
	groups    []owned
	elastic   []owned
	tokens    map[string]string // ClientToken → ids that it launched
	asked     map[string]string // instance → what was last asked of it, and accepted
	calls     int
}

type owned struct{ account, id string }

// step makes one call. Refusals are fine: they are a named failure.
func (c *client) step() {
	r, f := c.w.rand, c.w.front
	account := f.accounts[r.IntN(len(f.accounts))]
	switch r.IntN(19) {
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
		i, ok := c.instance()
		g, some := pick(c, c.groups)
		if ok && some && i.account == g.account {
			c.do(i.account, "ModifyInstanceAttribute", "InstanceId", i.id, "GroupId.1", g.id)
		}
	case 13, 14:
		c.address(account)
	case 15:
		c.disassociate()
	case 16:
		if g, ok := pick(c, c.groups); ok {
			if code, _ := c.do(g.account, "DeleteSecurityGroup", "GroupId", g.id); code == 200 {
				c.groups = slices.DeleteFunc(c.groups, func(o owned) bool { return o == g })
			}
		}
	case 17:
		if i, ok := c.instance(); ok {
			c.do(i.account, "CreateTags", "ResourceId.1", i.id, "Tag.1.Key", "Name", "Tag.1.Value", fmt.Sprint("name", r.IntN(100)))
		}
	case 18:
		if i, ok := c.instance(); ok {
			c.do(i.account, "ModifyInstanceMaintenanceOptions", "InstanceId", i.id, "AutoRecovery", []string{"default", "disabled"}[r.IntN(2)])
		}
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
	if r.IntN(6) == 0 { // the volume outlives it
		args = append(args, "BlockDeviceMapping.1.DeviceName", "/dev/sda1", "BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false")
	}
	closed := c.w.cordoned()
	code, body := c.do(account, "RunInstances", args...)
	if code != 200 {
		return
	}
	c.launched(account, token, all(instanceID, body), closed)
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

// launched notes which instances a call launched. None is on a node that took
// no more.
func (c *client) launched(account, token string, ids []string, closed map[string]bool) {
	c.tokens[account+token] = strings.Join(ids, " ")
	t := c.w.table()
	for _, id := range ids {
		c.instances = append(c.instances, owned{account, id})
		c.asked[id] = "RunInstances"
		if n := t.instances[id].Node; closed[n] {
			c.w.failf("%s was placed on %s, which takes no more", id, n)
		}
	}
}

// cutOff asks for an instance while the front end ends. Whether it was heard or
// not, the same call later launches one, and no more than one.
func (c *client) cutOff() {
	c.calls++
	account, token := c.w.front.accounts[c.w.rand.IntN(2)], fmt.Sprint("token", c.calls)
	args := []string{"ImageId", c.w.front.image, "InstanceType", "t2.nano", "MinCount", "1", "MaxCount", "1", "ClientToken", token}
	type answer struct {
		code int
		body string
	}
	first, f := make(chan answer, 1), c.w.front
	call := func() {
		code, body := f.call(account, "RunInstances", args...)
		first <- answer{code, body}
	}
	if c.w.rand.IntN(3) > 0 {
		go call()
		for range c.w.rand.IntN(20) {
			runtime.Gosched()
		}
		c.w.restartFrontEnd()
	} else { // it got there when the store was closed already
		c.w.restartFrontEnd()
		call()
	}
	was := <-first
	c.w.logf("cut off RunInstances: %d", was.code)
	closed := c.w.cordoned()
	code, body := c.do(account, "RunInstances", args...)
	ids := all(instanceID, body)
	switch {
	case was.code == 200 && (code != 200 || !slices.Equal(ids, all(instanceID, was.body))):
		c.w.failf("the token %s launched %s, and then %d %s", token, all(instanceID, was.body), code, body)
	case was.code != 503 && broken(was.code, was.body):
		c.w.failf("a front end that ended answered %d %s", was.code, was.body)
	}
	if code != 200 {
		return
	}
	if was.code == 200 {
		closed = nil // it was placed before
	}
	c.launched(account, token, ids, closed)
}

// endAll terminates all instances there are.
func (c *client) endAll() {
	for id, i := range c.w.table().instances {
		if code, body := c.do(i.AccountID, "TerminateInstances", "InstanceId.1", id); code != 200 {
			c.w.failf("terminate %s: %d %s", id, code, body)
		}
		c.asked[id] = "TerminateInstances"
	}
}

// launchAnew has an instance run in each zone, as must be possible in a cloud
// in which all works and nothing runs.
func (c *client) launchAnew() {
	for _, h := range c.w.hosts {
		if c.w.cordoned()[h.row.Name] {
			c.w.cordon(h)
		}
	}
	for _, zone := range c.w.zones {
		account := c.w.front.accounts[0]
		code, body := c.do(account, "RunInstances", "ImageId", c.w.front.image, "InstanceType", "t2.nano", "MinCount", "1", "MaxCount", "1",
			"Placement.AvailabilityZone", zone)
		if code != 200 {
			c.w.failf("launch in %s: %d %s", zone, code, body)
			continue
		}
		c.launched(account, zone, all(instanceID, body), nil)
	}
}

func (c *client) each(action string, args ...string) {
	if i, ok := c.instance(); ok {
		if code, _ := c.do(i.account, action, append(args, "InstanceId.1", i.id)...); code == 200 && action != "RebootInstances" {
			c.asked[i.id] = action
		}
	}
}

// disassociate takes an address off its instance.
func (c *client) disassociate() {
	elastic := slices.DeleteFunc(c.w.table().addresses, func(a cloud.Address) bool { return a.AssociationID == "" || a.Auto })
	if a, ok := pick(c, elastic); ok {
		c.do(a.AccountID, "DisassociateAddress", "AssociationId", a.AssociationID)
	}
}

func (c *client) address(account string) {
	a, some := pick(c, c.elastic)
	i, ok := c.instance()
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
	if broken(code, body) {
		c.w.failf("%s %v: %d %s", action, args, code, body)
	}
	return code, body
}

// broken reports whether an answer says that the cloud failed: not that
// something is missing, which is EC2's to say with a 500 too.
func broken(code int, body string) bool {
	return code >= 500 && !strings.Contains(body, "<Code>InsufficientInstanceCapacity<") && !strings.Contains(body, "<Code>InsufficientAddressCapacity<")
}

// instance returns one, mostly one that has not ended.
func (c *client) instance() (owned, bool) {
	from := c.instances
	if c.w.rand.IntN(8) > 0 {
		from = slices.DeleteFunc(slices.Clone(from), func(o owned) bool {
			i, known := c.w.checked.instances[o.id]
			return known && (i.State == cloud.Terminated || i.State == cloud.ShuttingDown)
		})
	}
	return pick(c, from)
}

func pick[T any](c *client, from []T) (v T, ok bool) {
	if len(from) == 0 {
		return v, false
	}
	// The younger ones more often: the old are mostly gone.
	return from[max(c.w.rand.IntN(len(from)), c.w.rand.IntN(len(from)))], true
}
