package ec2

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestLimits goes to EC2's limits and one step beyond, where the parameters are
// too long or too many for a script.
func TestLimits(t *testing.T) {
	t.Parallel()
	c := newSite(t)
	const run = "Action=RunInstances&ImageId=ami-#1&MinCount=1&MaxCount=1&InstanceType=t2.nano"
	data := func(size int) string {
		return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", size))))
	}
	tags := func(n int) string {
		var b strings.Builder
		for i := 1; i <= n; i++ {
			fmt.Fprintf(&b, "&TagSpecification.1.Tag.%d.Key=k%d", i, i)
		}
		return "&TagSpecification.1.ResourceType=instance" + b.String()
	}
	tag := func(key, value int) string {
		return "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=" + strings.Repeat("k", key) +
			"&TagSpecification.1.Tag.1.Value=" + url.QueryEscape(strings.Repeat("é", value))
	}
	groups := func(n int) string {
		var b strings.Builder
		for i := 1; i <= n; i++ {
			fmt.Fprintf(&b, "&SecurityGroup.%d=default", i)
		}
		return b.String()
	}
	ids := func(n int) string {
		var b strings.Builder
		for i := 1; i <= n; i++ {
			fmt.Fprintf(&b, "&InstanceId.%d=i-%017x", i, i)
		}
		return b.String()
	}
	c.must(run)
	c.settle()
	c.must("Action=StopInstances&InstanceId.1=i-#1")
	c.settle()
	for _, tt := range []struct {
		name, form string
		code       string // "" for success
	}{
		{"user data", run + "&UserData=" + data(maxUserData), ""},
		{"user data", run + "&UserData=" + data(maxUserData+1), "InvalidParameterValue"},
		{"user data of what is stopped", "Action=ModifyInstanceAttribute&InstanceId=i-#1&UserData.Value=" + data(maxUserData), ""},
		{"user data of what is stopped", "Action=ModifyInstanceAttribute&InstanceId=i-#1&UserData.Value=" + data(maxUserData+1), "InvalidParameterValue"},
		{"tags", run + tags(maxTags), ""},
		{"tags", run + tags(maxTags+1), "TagLimitExceeded"},
		{"tag", run + tag(maxTagKey, maxTagValue), ""},
		{"tag's key", run + tag(maxTagKey+1, 0), "InvalidParameterValue"},
		{"tag's value", run + tag(1, maxTagValue+1), "InvalidParameterValue"},
		{"groups", run + groups(maxGroups), ""},
		{"groups", run + groups(maxGroups+1), "SecurityGroupsPerInterfaceLimitExceeded"},
		{"instances", "Action=StopInstances" + ids(maxLaunch+1), "InvalidParameterValue"},
		{"instances", "Action=StopInstances" + ids(maxLaunch), "InvalidInstanceID.NotFound"},
	} {
		status, body := c.call("alice", tt.form)
		if tt.code == "" && status != http.StatusOK || tt.code != "" && !strings.Contains(body, "<Code>"+tt.code+"</Code>") {
			t.Errorf("%s, %d bytes: %d %.300s, want %q", tt.name, len(tt.form), status, body, tt.code)
		}
	}
}
