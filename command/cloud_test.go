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

// A cloudProcess is an eucad on the simulator, run by its command line.
type cloudProcess struct {
	t    *testing.T
	dir  string
	args []string
	stop func()
	admin.Credentials
}

func newCloud(t *testing.T, args ...string) *cloudProcess {
	dir, err := os.MkdirTemp("", "eucad") // a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	c := &cloudProcess{t: t, dir: dir, args: append([]string{"eucad", "--role", "all", "--hypervisor", "sim", "--listen", "127.0.0.1:0", "--log", "error", "--dir", dir}, args...)}
	c.start()
	t.Cleanup(func() {
		c.stop()
		os.RemoveAll(dir)
	})
	return c
}

func (c *cloudProcess) start() {
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
		out, err := c.run("credentials", "--json")
		if err == nil {
			err = json.Unmarshal(out, &c.Credentials)
		}
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
func (c *cloudProcess) run(args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := Run(c.t.Context(), append([]string{"eucad", "--dir", c.dir}, args...), &out)
	return out.Bytes(), err
}

// call calls the EC2 API.
func (c *cloudProcess) call(form string) (int, string) {
	c.t.Helper()
	r, err := sigv4test.Post(c.Endpoint, "Version=2016-11-15&"+form, c.AccessKeyID, c.SecretAccessKey)
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

// states returns the state of each instance that is not terminated, by id.
func (c *cloudProcess) states() map[string]string {
	c.t.Helper()
	_, body := c.call("Action=DescribeInstances")
	out := map[string]string{}
	ids, states := instanceID.FindAllStringSubmatch(body, -1), stateName.FindAllStringSubmatch(body, -1)
	for n := range ids {
		if states[n][1] != "terminated" {
			out[ids[n][1]] = states[n][1]
		}
	}
	return out
}

func (c *cloudProcess) await(id, state string) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); c.states()[id] != state; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%s: never %q: %v", id, state, c.states())
		}
	}
}

// A cloud on the simulator is a whole one, and lasts.
func TestSimulatedCloud(t *testing.T) {
	c := newCloud(t, "--sim-zones", "2", "--sim-nodes", "2")
	disk := filepath.Join(c.dir, "disk.img")
	if err := os.WriteFile(disk, []byte("anything"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := c.run("image", "import", disk, "--name", "any")
	if err != nil {
		t.Fatal(err)
	}
	run := "Action=RunInstances&InstanceType=t2.nano&MinCount=1&MaxCount=1&ClientToken=one&ImageId=" + strings.TrimSpace(string(out))
	_, first := c.call(run)
	m := instanceID.FindStringSubmatch(first)
	if m == nil {
		t.Fatal(first)
	}
	id := m[1]
	c.await(id, "running")

	c.stop()
	c.start()
	c.await(id, "running")
	if _, again := c.call(run); !strings.Contains(again, id) {
		t.Errorf("the same token after a restart: %s", again)
	}
	if code, body := c.call(strings.Replace(run, "t2.nano", "t2.micro", 1)); code != 400 || !strings.Contains(body, "<Code>IdempotentParameterMismatch</Code>") {
		t.Errorf("the same token for another request: %d %s", code, body)
	}
	c.call("Action=StopInstances&InstanceId.1=" + id)
	c.await(id, "stopped")
	c.call("Action=StartInstances&InstanceId.1=" + id)
	c.await(id, "running")
	c.call("Action=TerminateInstances&InstanceId.1=" + id)
	c.await(id, "")

	if out, err := c.run("account", "create", "bob", "--json"); err != nil || !strings.Contains(string(out), `"vpc_id": "vpc-`) {
		t.Errorf("create: %v %s", err, out)
	}
	if _, err := c.run("account", "delete", "bob"); err != nil {
		t.Error(err)
	}
	if _, err := c.run("credentials", "--account", "bob"); err == nil || !strings.Contains(err.Error(), "no account") {
		t.Errorf("credentials of an account that is gone: %v", err)
	}
}
