package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A machine is where commands run: a host of a test's own, or one of a lab.
type machine struct {
	t       testing.TB
	eucad   string // the binary
	command func(ctx context.Context, name string, args ...string) *exec.Cmd
	said    func() string // what its eucad has logged
	env     []string
}

// credentials has AWS's tools on the machine use the cloud's first account.
func (m *machine) credentials(args ...string) {
	m.t.Helper()
	for line := range strings.Lines(m.ok(m.eucad, append([]string{"credentials", "--env"}, args...)...)) {
		if kv, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			m.env = append(m.env, kv)
		}
	}
}

// try runs a command on the machine.
func (m *machine) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := m.command(ctx, name, args...)
	c.Env = append(os.Environ(), m.env...)
	c.Env = append(c.Env, "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true")
	out, err := c.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// ok runs a command that must succeed.
func (m *machine) ok(name string, args ...string) string {
	m.t.Helper()
	out, err := m.try(name, args...)
	if err != nil {
		m.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// ec2 runs AWS's command line, which must succeed.
func (m *machine) ec2(args ...string) string {
	m.t.Helper()
	return m.ok("aws", append([]string{"--endpoint-url", url, "--output", "text", "ec2"}, args...)...)
}

// ec2Fails runs AWS's command line, which must fail with the code.
func (m *machine) ec2Fails(code string, args ...string) {
	m.t.Helper()
	out, err := m.try("aws", append([]string{"--endpoint-url", url, "ec2"}, args...)...)
	if err == nil || !strings.Contains(out, "("+code+")") {
		m.t.Errorf("aws ec2 %s: %v %q; want %s", strings.Join(args, " "), err, out, code)
	}
}

// terminate ends instances, and waits for their end: aws wait would look only
// every 15 s.
func (m *machine) terminate(ids ...string) {
	m.t.Helper()
	m.ec2(append([]string{"terminate-instances", "--instance-ids"}, ids...)...)
	m.eventually("the end of instances", func() error {
		got := m.ec2(append([]string{"describe-instances", "--query", "Reservations[].Instances[].State.Name", "--instance-ids"}, ids...)...)
		if strings.Count(got, "terminated") != len(ids) {
			return errors.New(got)
		}
		return nil
	})
}

// eventually waits until f succeeds.
func (m *machine) eventually(what string, f func() error) {
	m.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}

// access makes a key pair, whose file it returns, and a security group that
// lets SSH in.
func (m *machine) access(dir string) (key, group string) {
	m.t.Helper()
	key = filepath.Join(dir, "key.pem")
	if err := os.WriteFile(key, []byte(m.ec2("create-key-pair", "--key-name", "mine", "--key-type", "ed25519", "--query", "KeyMaterial")+"\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	group = m.ec2("create-security-group", "--group-name", "ssh", "--description", "SSH from anywhere", "--query", "GroupId")
	m.ec2("authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "22", "--cidr", "0.0.0.0/0")
	return key, group
}

// letPing has members of the group ping each other.
func (m *machine) letPing(group string) {
	m.t.Helper()
	m.ec2("authorize-security-group-ingress", "--group-id", group, "--ip-permissions", "IpProtocol=icmp,FromPort=-1,ToPort=-1,UserIdGroupPairs=[{GroupId="+group+"}]")
}

// A guest is an instance that one can log in to.
type guest struct {
	from    *machine // from which one logs in
	id, key string
	public  string
	private string
}

// guest reads the addresses of instance id.
func (m *machine) guest(id, key string) guest {
	m.t.Helper()
	f := strings.Fields(m.ec2("describe-instances", "--instance-ids", id, "--query", "Reservations[0].Instances[0].[PublicIpAddress,PrivateIpAddress]"))
	return guest{m, id, key, f[0], f[1]}
}

func (g guest) ssh(addr, command string, more ...string) (string, error) {
	args := []string{"-i", g.key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5"}
	args = append(append(args, more...), "root@"+addr, command)
	return g.from.try("ssh", args...)
}

// up waits until the guest answers SSH at its public address.
func (g guest) up() {
	g.from.t.Helper()
	g.from.eventually("SSH of "+g.id+" at "+g.public, func() error {
		out, err := g.ssh(g.public, "true")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// sh runs a command in the guest, which must succeed.
func (g guest) sh(command string) string {
	g.from.t.Helper()
	out, err := g.ssh(g.public, command)
	if err != nil {
		g.from.t.Fatalf("%s: %s: %v\n%s\n%s", g.id, command, err, out, g.from.said())
	}
	return out
}
