package command

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"eucad/api/admin"
	"eucad/api/sigv4/sigv4test"
)

// A simCloud is a whole cloud on simulated nodes, used by its command line and
// its EC2 API.
type simCloud struct {
	t    *testing.T
	dir  string
	args []string
	stop func()
	cred admin.Credentials
}

// newCloud starts a cloud that ends with the test. Its tests are not parallel,
// and use no command line before it answers: the cli package has flags of its
// own that all command lines share.
func newCloud(t *testing.T, args ...string) *simCloud {
	dir, err := os.MkdirTemp("", "eucad") // a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	c := &simCloud{t: t, dir: dir, args: append([]string{"eucad", "--role", "all", "--hypervisor", "sim", "--listen", "127.0.0.1:0", "--log", "error", "--dir", dir}, args...)}
	c.start()
	t.Cleanup(func() {
		c.stop()
		os.RemoveAll(dir)
	})
	return c
}

func (c *simCloud) start() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c.args, io.Discard) }()
	c.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("eucad ended: %v", err)
		}
		c.stop = func() {}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		err := newClient(c.dir).call(ctx, "GET", "/accounts/admin/credentials", &c.cred)
		if err == nil {
			return
		}
		select {
		case err := <-ended:
			c.t.Fatal(err)
		default:
		}
		if time.Now().After(end) {
			c.t.Fatalf("eucad does not answer: %v", err)
		}
	}
}

// run runs a command of eucad's against the cloud.
func (c *simCloud) try(args ...string) (string, error) {
	var out bytes.Buffer
	err := Run(c.t.Context(), append([]string{"eucad", "--dir", c.dir}, args...), &out)
	return out.String(), err
}

// ec2 calls the EC2 API as the cloud's first account.
func (c *simCloud) ec2(form string) (int, string) {
	c.t.Helper()
	r, err := sigv4test.Post(c.cred.Endpoint, "Version=2016-11-15&"+form, c.cred.AccessKeyID, c.cred.SecretAccessKey)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

var (
	instanceID = regexp.MustCompile(`<instanceId>(i-[0-9a-f]{17})<`)
	stateName  = regexp.MustCompile(`<instanceState><code>\d+</code><name>([a-z-]+)<`)
)

// until waits until f is true.
func (c *simCloud) until(f func() bool) {
	c.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !f(); <-tick.C {
		if time.Now().After(end) {
			c.t.Fatal("it does not come to pass")
		}
	}
}

func (c *simCloud) eucad(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("eucad %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// states returns the state of each instance that is not terminated, by id.
func (c *simCloud) states() map[string]string {
	c.t.Helper()
	_, body := c.ec2("Action=DescribeInstances")
	out := map[string]string{}
	ids, states := instanceID.FindAllStringSubmatch(body, -1), stateName.FindAllStringSubmatch(body, -1)
	for n := range ids {
		if states[n][1] != "terminated" {
			out[ids[n][1]] = states[n][1]
		}
	}
	return out
}

func (c *simCloud) await(id, state string) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); c.states()[id] != state; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%s: never %q: %v", id, state, c.states())
		}
	}
}

// A second eucad in the same directory writes nothing into the first one's
// store: that one's nodes would miss what it wrote next.
func TestOneInADirectory(t *testing.T) {
	c := newCloud(t)
	before := c.eucad("node", "list", "--json")
	for _, args := range [][]string{
		{"--role", "all", "--hypervisor", "sim", "--listen", "127.0.0.1:0", "--sim-nodes", "3"},
		{"purge", "--yes"},
	} {
		if _, err := c.try(args...); err == nil || !strings.Contains(err.Error(), "another eucad runs in "+c.dir) {
			t.Errorf("eucad %s: %v", strings.Join(args, " "), err)
		}
	}
	if after := c.eucad("node", "list", "--json"); strings.Count(after, `"name"`) != 1 {
		t.Errorf("nodes before: %s\nand after: %s", before, after)
	}
}

// A cloud on the simulator is a whole one, and lasts.
func TestSimulatedCloud(t *testing.T) {
	c := newCloud(t, "--sim-zones", "2", "--sim-nodes", "2")
	disk := filepath.Join(c.dir, "disk.img")
	if err := os.WriteFile(disk, []byte("anything"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := c.try("image", "import", disk, "--name", "any")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]string{
		{"--name", "x"}, {"--name", "semi;colon"}, {"--name", "other", "--arch", "z80"}, {"--name", "other", "--kind", "floppy"},
		{"--name", "other", "--kernel", strings.TrimSpace(out)}, {"--name", "other", "--description", strings.Repeat("x", 256)}, {"--name", "any"},
	} {
		if out, err := c.try(append([]string{"image", "import", disk}, bad...)...); err == nil {
			t.Errorf("eucad image import %q: %s", bad, out)
		}
	}
	run := "Action=RunInstances&InstanceType=t2.nano&MinCount=1&MaxCount=1&ClientToken=one&ImageId=" + strings.TrimSpace(out)
	_, first := c.ec2(run)
	m := instanceID.FindStringSubmatch(first)
	if m == nil {
		t.Fatal(first)
	}
	id := m[1]
	c.await(id, "running")

	c.stop()
	c.start()
	c.await(id, "running")
	if _, again := c.ec2(run); !strings.Contains(again, id) {
		t.Errorf("the same token after a restart: %s", again)
	}
	if code, body := c.ec2(strings.Replace(run, "t2.nano", "t2.micro", 1)); code != 400 || !strings.Contains(body, "<Code>IdempotentParameterMismatch</Code>") {
		t.Errorf("the same token for another request: %d %s", code, body)
	}
	c.ec2("Action=StopInstances&InstanceId.1=" + id)
	c.await(id, "stopped")
	c.ec2("Action=StartInstances&InstanceId.1=" + id)
	c.await(id, "running")
	c.ec2("Action=TerminateInstances&InstanceId.1=" + id)
	c.await(id, "")

	if out, err := c.try("account", "create", "bob", "--json"); err != nil || !strings.Contains(out, `"vpc_id": "vpc-`) {
		t.Errorf("create: %v %s", err, out)
	}
	if _, err := c.try("account", "delete", "bob"); err != nil {
		t.Error(err)
	}
	if _, err := c.try("credentials", "--account", "bob"); err == nil || !strings.Contains(err.Error(), "no account") {
		t.Errorf("credentials of an account that is gone: %v", err)
	}
}

// launch starts an instance of image and waits until its history tells how its node started it.
func (c *simCloud) launch(image string) admin.Explanation {
	c.t.Helper()
	code, body := c.ec2("Action=RunInstances&InstanceType=t2.nano&MinCount=1&MaxCount=1&ImageId=" + image)
	m := instanceID.FindStringSubmatch(body)
	if code != http.StatusOK || m == nil {
		c.t.Fatalf("launch: %d %s", code, body)
	}
	var e admin.Explanation
	c.until(func() bool {
		e = c.explain(m[1])
		return e.State == "running" && phase(e.Starts[0], "node: plug") != nil
	})
	return e
}

func (c *simCloud) explain(id string) (e admin.Explanation) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.eucad("explain", id, "--json")), &e); err != nil {
		c.t.Fatal(err)
	}
	return e
}

func (c *simCloud) image() string {
	file := filepath.Join(c.dir, "image.raw")
	if err := os.WriteFile(file, []byte("something"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(c.eucad("image", "import", "--name", "some", file))
}

func phase(s admin.Start, name string) *admin.Step {
	for i := range s.Timeline {
		if s.Timeline[i].Phase == name {
			return &s.Timeline[i]
		}
	}
	return nil
}

func TestExplain(t *testing.T) {
	c := newCloud(t, "--sim-nodes", "3")
	c.eucad("node", "cordon", "sim-eucad-1a-2")
	e := c.launch(c.image())
	if len(e.Starts) != 1 || e.Node != "sim-eucad-1a-1" {
		t.Fatalf("%+v", e)
	}
	var names []string
	at := 0.0
	for _, s := range e.Starts[0].Timeline {
		names = append(names, s.Phase)
		if s.AtMS != nil {
			if *s.AtMS < at || s.MS < 0 {
				t.Errorf("%s goes back in time: %+v", s.Phase, s)
			}
			at = *s.AtMS
		}
	}
	want := "accepted, placed, plan, node: queue, node: image, node: filters, node: ports, node: disks and guest, node: plug, running"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("phases = %s\nwant     %s", got, want)
	}
	p := e.Starts[0].Placement
	if p == nil || p.Node != e.Node || p.Policy != "spread" || len(p.Others) != 2 || p.Others[0] != (admin.Other{Node: "sim-eucad-1a-2", Why: "is cordoned"}) ||
		!strings.HasPrefix(p.Others[1].Why, "would do") {
		t.Errorf("placement = %+v", p)
	}

	if code, body := c.ec2("Action=StopInstances&InstanceId.1=" + e.Instance); code != http.StatusOK {
		t.Fatal(body)
	}
	c.until(func() bool { return c.explain(e.Instance).State == "stopped" })
	if code, body := c.ec2("Action=StartInstances&InstanceId.1=" + e.Instance); code != http.StatusOK {
		t.Fatal(body)
	}
	c.until(func() bool { return c.explain(e.Instance).State == "running" })
	e = c.explain(e.Instance)
	if len(e.Starts) != 2 || phase(e.Starts[0], "stopped") == nil || e.Starts[1].Placement.Why != "has its disks" || phase(e.Starts[1], "plan") == nil {
		t.Errorf("after another start: %+v", e)
	}
	text := c.eucad("explain", e.Instance)
	for _, part := range []string{"is running on node sim-eucad-1a-1", "Start 2 began", "node: disks and guest", "has the most free memory (policy spread)", "is cordoned", "2 more"} {
		if !strings.Contains(text, part) {
			t.Errorf("explain does not say %q:\n%s", part, text)
		}
	}
	if _, err := c.try("explain", "i-00000000000000000"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("unknown instance: %v", err)
	}
}

func TestCordon(t *testing.T) {
	c := newCloud(t, "--memory-overcommit", "0.5", "--disk-overcommit", "2")
	image := c.image()
	launch := "Action=RunInstances&InstanceType=t2.nano&MinCount=1&MaxCount=1&ImageId=" + image
	c.eucad("node", "cordon", "sim-eucad-1a-1")
	if code, body := c.ec2(launch); code == http.StatusOK || !strings.Contains(body, "InsufficientInstanceCapacity") {
		t.Errorf("launched on a cordoned node: %d %s", code, body)
	}
	var nodes []admin.Node
	if err := json.Unmarshal([]byte(c.eucad("node", "list", "--json")), &nodes); err != nil {
		t.Fatal(err)
	}
	if n := nodes[0]; len(nodes) != 1 || !n.Cordoned || n.Lost || n.Zone != "eucad-1a" || n.Kind != "sim" || n.Heard.IsZero() ||
		n.Capacity.CPUs != 4*n.Host.CPUs || 2*n.Capacity.MemoryMiB != n.Host.MemoryMiB || n.Capacity.DiskGiB != 2*n.Host.DiskGiB {
		t.Errorf("nodes = %+v", nodes)
	}
	if text := c.eucad("node", "list"); !strings.Contains(text, "cordoned") {
		t.Errorf("node list does not say cordoned:\n%s", text)
	}
	c.eucad("node", "uncordon", "sim-eucad-1a-1")
	c.launch(image)
	if err := json.Unmarshal([]byte(c.eucad("node", "list", "--json")), &nodes); err != nil {
		t.Fatal(err)
	}
	if n := nodes[0]; n.Cordoned || n.Instances != 1 || n.Used.CPUs != 1 || n.Used.MemoryMiB != 512 || n.Used.DiskGiB != 1 {
		t.Errorf("nodes = %+v", nodes)
	}
	if _, err := c.try("node", "cordon", "nowhere"); err == nil || !strings.Contains(err.Error(), "no node") {
		t.Errorf("unknown node: %v", err)
	}
}

func TestSitePolicy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "last.star")
	write := func(source string) {
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("def place(need, nodes):\n    return nodes[-1].name")
	c := newCloud(t, "--sim-nodes", "3", "--policy", file)
	image := c.image()
	if e := c.launch(image); e.Node != "sim-eucad-1a-3" || e.Starts[0].Placement.Policy != "last.star" {
		t.Errorf("%+v", e.Starts[0].Placement)
	}
	write("def place(need, nodes):\n    return nodes[99].name # out of range")
	if e := c.launch(image); e.Node != "sim-eucad-1a-1" || !strings.Contains(e.Starts[0].Placement.Failure, "out of range") {
		t.Errorf("%+v", e.Starts[0].Placement)
	}
}

func TestBadSettings(t *testing.T) {
	for flag, value := range map[string]string{"--policy": "fair", "--memory-overcommit": "0", "--disk-overcommit": "-1", "--cpu-overcommit": "1e9"} {
		err := Run(t.Context(), []string{"eucad", "--role", "all", "--hypervisor", "sim", "--dir", t.TempDir(), "--listen", "127.0.0.1:0", flag, value}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), value) && !strings.Contains(err.Error(), flag) {
			t.Errorf("%s %s: %v", flag, value, err)
		}
	}
}
