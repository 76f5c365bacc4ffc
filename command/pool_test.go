package command

import (
	"io"
	"strings"
	"testing"
)

// An instance whose disks are on the network starts where there is room.
func TestNetworkPool(t *testing.T) {
	c := newCloud(t, "--sim-nodes", "2", "--sim-pool", "network")
	e := c.launch(c.image())
	start := "Action=StartInstances&InstanceId.1=" + e.Instance
	for _, cordoned := range []bool{false, true} {
		was := c.explain(e.Instance).Node
		c.ec2("Action=StopInstances&InstanceId.1=" + e.Instance)
		c.await(e.Instance, "stopped")
		if cordoned {
			c.eucad("node", "cordon", was)
		}
		if code, body := c.ec2(start); code != 200 {
			t.Fatalf("start: %d %s", code, body)
		}
		c.await(e.Instance, "running")
		if is := c.explain(e.Instance).Node; (is != was) != cordoned {
			t.Errorf("it was on %s and is on %s; cordoned: %v", was, is, cordoned)
		}
	}
	c.ec2("Action=TerminateInstances&InstanceId.1=" + e.Instance)
	c.await(e.Instance, "")
}

func TestNetworkPoolIsSimulated(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--hypervisor sim --sim-pool elsewhere", "--sim-pool is node or network"},
		{"--hypervisor libvirt --sim-pool network", "is for --role all --hypervisor sim only"},
	} {
		args := append([]string{"eucad", "--role", "all", "--dir", t.TempDir(), "--listen", "127.0.0.1:0"}, strings.Fields(tt.args)...)
		if err := Run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.args, err)
		}
	}
}
