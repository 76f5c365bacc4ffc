package ec2

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

func TestParseTraffic(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	for _, tt := range []struct {
		name               string
		from, to           *int64
		protocol, low, top int
		err                bool
	}{
		{"tcp", n(22), n(22), 6, 22, 22, false},
		{"TCP", n(0), n(65535), 6, 0, 65535, false},
		{"6", n(22), n(22), 6, 22, 22, false},
		{"17", n(53), n(53), 17, 53, 53, false},
		{"udp", nil, n(53), 0, 0, 0, true},
		{"udp", n(53), nil, 0, 0, 0, true},
		{"udp", n(54), n(53), 0, 0, 0, true},
		{"tcp", n(-1), n(-1), 0, 0, 0, true},
		{"tcp", n(1), n(65536), 0, 0, 0, true},
		{"icmp", n(-1), n(-1), 1, -1, -1, false},
		{"1", n(3), n(4), 1, 3, 4, false},
		{"icmp", n(3), n(-1), 1, 3, -1, false},
		{"icmp", n(-1), n(4), 0, 0, 0, true},
		{"icmp", n(256), n(0), 0, 0, 0, true},
		{"icmp", n(8), n(256), 0, 0, 0, true},
		{"icmp", nil, nil, 0, 0, 0, true},
		{"icmpv6", nil, nil, 58, -1, -1, false},
		{"58", n(128), nil, 58, 128, -1, false},
		{"-1", nil, nil, -1, -1, -1, false},
		{"-1", n(0), n(0), -1, -1, -1, false},
		{"all", n(1), n(2), -1, -1, -1, false},
		{"50", n(1), n(2), 50, -1, -1, false},
		{"0", nil, nil, 0, -1, -1, false},
		{"255", nil, nil, 255, -1, -1, false},
		{"256", nil, nil, 0, 0, 0, true},
		{"-2", nil, nil, 0, 0, 0, true},
		{"+6", n(1), n(1), 0, 0, 0, true},
		{"esp", nil, nil, 0, 0, 0, true},
		{"", nil, nil, 0, 0, 0, true},
	} {
		protocol, low, top, err := parseTraffic(tt.name, tt.from, tt.to)
		if protocol != tt.protocol || low != tt.low || top != tt.top || (err != nil) != tt.err {
			t.Errorf("parseTraffic(%q, %v, %v) = %d, %d, %d, %v", tt.name, query.Val(tt.from), query.Val(tt.to), protocol, low, top, err)
		}
		if err != nil && cloud.FaultCode(err) == "" {
			t.Errorf("parseTraffic(%q): %v is no fault of the caller's", tt.name, err)
		}
	}
}

func TestParseCIDR(t *testing.T) {
	for _, tt := range []struct {
		in   string
		v6   bool
		want string // "" for a Fault
	}{
		{"10.0.0.0/8", false, "10.0.0.0/8"},
		{"100.68.0.18/18", false, "100.68.0.0/18"},
		{"0.0.0.0/0", false, "0.0.0.0/0"},
		{"192.0.2.1/32", false, "192.0.2.1/32"},
		{"::/0", true, "::/0"},
		{"2001:DB8:0::1/64", true, "2001:db8::/64"},
		{"::/0", false, ""},
		{"10.0.0.0/8", true, ""},
		{"::ffff:10.0.0.0/104", true, ""},
		{"fe80::1%eth0/64", true, ""},
		{"10.0.0.0", false, ""},
		{"10.0.0.0/33", false, ""},
		{"010.0.0.0/8", false, ""},
		{"10.0.0.0/08", false, ""},
		{" 10.0.0.0/8", false, ""},
		{"", false, ""},
	} {
		got, err := parseCIDR(tt.in, tt.v6)
		if tt.want == "" {
			if cloud.FaultCode(err) == "" {
				t.Errorf("parseCIDR(%q, %v) = %s, %v, want a Fault", tt.in, tt.v6, got, err)
			}
			continue
		}
		if err != nil || got.String() != tt.want {
			t.Errorf("parseCIDR(%q, %v) = %s, %v, want %s", tt.in, tt.v6, got, err, tt.want)
		}
	}
}

// TestPermissionsRoundTrip checks that what DescribeSecurityGroups shows can
// be sent back as it is: tools copy groups so.
func TestPermissionsRoundTrip(t *testing.T) {
	p := netip.MustParsePrefix
	rules := []cloud.Rule{
		{Protocol: tcp, From: 22, To: 22, CIDR: p("10.0.0.0/8"), Description: "ssh"},
		{Protocol: tcp, From: 22, To: 22, CIDR: p("192.0.2.0/24")},
		{Protocol: tcp, From: 22, To: 22, CIDR: p("2001:db8::/32")},
		{Protocol: tcp, From: 22, To: 22, GroupID: "sg-0123456789abcdef0", GroupOwner: "123456789012"},
		{Protocol: tcp, From: 0, To: 0, CIDR: p("10.0.0.0/8")},
		{Protocol: udp, From: 0, To: 65535, CIDR: p("0.0.0.0/0")},
		{Protocol: icmp, From: -1, To: -1, CIDR: p("0.0.0.0/0")},
		{Protocol: icmp, From: 3, To: -1, CIDR: p("0.0.0.0/0")},
		{Protocol: icmpv6, From: -1, To: -1, CIDR: p("::/0")},
		{Protocol: 50, From: -1, To: -1, CIDR: p("0.0.0.0/0")},
		{Protocol: 0, From: -1, To: -1, CIDR: p("0.0.0.0/0")},
		{Protocol: -1, From: -1, To: -1, CIDR: p("0.0.0.0/0")},
	}
	for _, egress := range []bool{false, true} {
		for i := range rules {
			rules[i].Egress = egress
		}
		shown := wirePermissions(rules, egress)
		asked, err := parsePermissions(shown, egress)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]cloud.Rule, len(asked))
		for i := range asked {
			got[i] = asked[i].Rule
		}
		if diff := cmp.Diff(rules, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("egress %v: what is shown differs from what it means (-is +read):\n%s", egress, diff)
		}
		if rest := wirePermissions(rules, !egress); len(rest) != 0 {
			t.Errorf("egress %v: rules of one direction appear in the other: %v", egress, rest)
		}
	}
}

func FuzzParsePermission(f *testing.F) {
	f.Add("tcp", true, int64(22), true, int64(22), "10.0.0.0/8", false, "ssh")
	f.Add("icmp", true, int64(8), true, int64(-1), "0.0.0.0/0", false, "")
	f.Add("58", false, int64(0), false, int64(0), "2001:db8::1/32", true, "v6 (any)")
	f.Add("-1", true, int64(-1), true, int64(70000), "::/0", true, "<b>")
	f.Add("255", true, int64(-1), false, int64(1<<40), "::ffff:1.2.3.4/128", true, "é")
	f.Fuzz(func(t *testing.T, protocol string, hasFrom bool, from int64, hasTo bool, to int64, cidr string, v6 bool, description string) {
		in := wire.IpPermission{IpProtocol: &protocol}
		if hasFrom {
			in.FromPort = &from
		}
		if hasTo {
			in.ToPort = &to
		}
		if v6 {
			in.Ipv6Ranges = []wire.Ipv6Range{{CidrIpv6: &cidr, Description: &description}}
		} else {
			in.IpRanges = []wire.IpRange{{CidrIp: &cidr, Description: &description}}
		}
		asked, err := parsePermissions([]wire.IpPermission{in}, v6)
		if err != nil {
			if cloud.FaultCode(err) == "" {
				t.Fatalf("%v is no fault of the caller's", err)
			}
			return
		}
		r := asked[0].Rule
		switch {
		case len(asked) != 1:
			t.Fatalf("one peer became %d rules", len(asked))
		case r.Protocol < -1 || r.Protocol > 255 || r.From < -1 || r.To < -1 || r.From > 65535 || r.To > 65535:
			t.Fatalf("out of range: %+v", r)
		case r.CIDR != r.CIDR.Masked() || r.CIDR.Addr().Is4() == v6:
			t.Fatalf("not canonical: %s", r.CIDR)
		case (r.Protocol == tcp || r.Protocol == udp) && r.From > r.To:
			t.Fatalf("empty range: %+v", r)
		}
		again, err := parsePermissions(wirePermissions([]cloud.Rule{r}, v6), v6)
		if err != nil || len(again) != 1 || again[0].Rule != r {
			t.Fatalf("%+v is shown as %+v, %v", r, again, err)
		}
	})
}

// TestManyRules fills a group up to its limit, as many as one request can hold at a time.
func TestManyRules(t *testing.T) {
	t.Parallel()
	c := newSite(t)
	c.must("Action=CreateSecurityGroup&GroupName=big&GroupDescription=x")
	const step = 2000
	form := func(first, n int) string {
		var b strings.Builder
		b.WriteString("Action=AuthorizeSecurityGroupIngress&GroupId=sg-#1&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=443&IpPermissions.1.ToPort=443")
		for i := range n {
			fmt.Fprintf(&b, "&IpPermissions.1.IpRanges.%d.CidrIp=10.%d.%d.0/24", i+1, (first+i)/256, (first+i)%256)
		}
		return b.String()
	}
	for first := 0; first < maxRules; first += step {
		c.must(form(first, step))
	}
	if _, body := c.call("alice", form(maxRules, 1)); !strings.Contains(body, "<Code>RulesPerSecurityGroupLimitExceeded</Code>") {
		t.Errorf("one more than %d: %s", maxRules, body)
	}
	if body := c.must("Action=DescribeSecurityGroups&GroupId.1=sg-#1"); strings.Count(body, "<cidrIp>10.") != maxRules {
		t.Errorf("the group shows %d rules, want %d", strings.Count(body, "<cidrIp>10."), maxRules)
	}
	seen := map[string]bool{}
	next := ""
	for pages := 1; ; pages++ {
		_, body := c.call("alice", "Action=DescribeSecurityGroupRules&Filter.1.Name=group-id&Filter.1.Value.1=sg-#1&MaxResults=999"+next)
		for _, part := range strings.Split(body, "<securityGroupRuleId>")[1:] {
			id, _, _ := strings.Cut(part, "<")
			if seen[id] {
				t.Fatalf("rule %s is on two pages", id)
			}
			seen[id] = true
		}
		_, token, more := strings.Cut(body, "<nextToken>")
		if !more {
			if pages != 11 {
				t.Errorf("%d pages, want 11", pages)
			}
			break
		}
		token, _, _ = strings.Cut(token, "<")
		next = "&NextToken=" + token
	}
	if len(seen) != maxRules+1 { // and the egress rule
		t.Errorf("pages have %d rules, want %d", len(seen), maxRules+1)
	}
	c.must(strings.Replace(form(0, 2), "Authorize", "Revoke", 1))
	c.must(form(maxRules, 2))
}

// BenchmarkAuthorize measures a change of a group of many rules, up to durable.
func BenchmarkAuthorize(b *testing.B) {
	for _, n := range []int{10, 10_000 - 1} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newSite(b)
			c.must("Action=CreateSecurityGroup&GroupName=big&GroupDescription=x")
			c.write(func(tx store.Tx) error {
				list, err := tx.Groups(c.ctx(), c.account["alice"], c.random["sg-#1"])
				if err != nil {
					return err
				}
				g := list[0]
				for i := range n {
					g.Rules = append(g.Rules, cloud.Rule{ID: cloud.NewID("sgr"), Protocol: tcp, From: 443, To: 443, CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)})
				}
				return tx.PutGroup(c.ctx(), g)
			})
			rule := "&GroupId=sg-#1&IpProtocol=udp&FromPort=53&ToPort=53&CidrIp=0.0.0.0/0"
			for b.Loop() {
				c.must("Action=AuthorizeSecurityGroupIngress" + rule)
				b.StopTimer()
				c.must("Action=RevokeSecurityGroupIngress" + rule)
				b.StartTimer()
			}
		})
	}
}
