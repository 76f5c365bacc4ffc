package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A site is several machines, and networks that join them: each is a bridge on
// a machine of its own, from which the outside looks in.
type site struct {
	*host
	legs int
}

// network makes a network; a machine outside has the address in it, "" for none.
func (s *site) network(name, addr string) {
	s.ok("ip", "link", "add", name, "type", "bridge")
	s.ok("ip", "link", "set", name, "up")
	if addr != "" {
		s.ok("ip", "addr", "add", addr, "dev", name)
	}
}

// join gives a machine a leg in a network.
func (s *site) join(h *host, network, addr string) {
	s.t.Helper()
	s.legs++
	leg := fmt.Sprint("leg", s.legs)
	out, err := exec.Command("ip", "link", "add", leg, "netns", strconv.Itoa(s.Pid()), "type", "veth", "peer", "name", network, "netns", strconv.Itoa(h.Pid())).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v %s", err, out)
	}
	s.ok("ip", "link", "set", leg, "master", network, "up")
	h.ok("ip", "addr", "add", addr, "dev", network)
	h.ok("ip", "link", "set", network, "up")
}

// enter makes a token on the front end and has a machine join by it.
func (h *host) enter(front *host, role, zone, name string, flags ...string) {
	h.t.Helper()
	token := front.ok(front.eucad, "token", "create", "--dir", front.dir, "--role", strings.Split(role, ",")[0], "--zone", zone)
	h.ok("sh", "-c", "mkdir -p "+h.dir+" && echo "+name+" >"+h.dir+"/name")
	h.flags = append([]string{"--role", role, "--token", token, "--mesh", "off"}, flags...)
	h.launch()
}

// One front end and two zones, with private networks of their own that have
// the same addresses: in az1 every host has the public network, in az2 only the
// head. Instances in both reach each other by private, and the outside reaches
// them by public address.
func TestZones(t *testing.T) {
	s := &site{host: newMachine(t)}
	s.network("wan", "")
	s.network("az1", "")
	s.network("az2", "")
	s.network("pub", "198.18.0.1/16")
	front := newMachine(t, "--role", "frontend", "--listen", "127.0.0.1:8773", "--peer-listen", "10.9.0.1:8774", "--mesh", "off")
	h1, n1, h2, n2 := newMachine(t), newMachine(t), newMachine(t), newMachine(t)
	s.join(front, "wan", "10.9.0.1/24")
	s.join(h1, "wan", "10.9.0.11/24")
	s.join(h1, "az1", "10.0.0.1/24")
	s.join(n1, "az1", "10.0.0.2/24")
	s.join(n1, "pub", "198.18.0.12/16")
	s.join(h2, "wan", "10.9.0.12/24")
	s.join(h2, "az2", "10.0.0.1/24")
	s.join(h2, "pub", "198.18.0.21/16")
	s.join(n2, "az2", "10.0.0.2/24")

	front.start()
	front.credentials()
	h1.enter(front, "cluster", "az1", "h1", "--join", "10.9.0.1:8774", "--regime", "edge")
	h2.enter(front, "cluster", "az2", "h2", "--join", "10.9.0.1:8774", "--regime", "head", "--public-interface", "pub")
	front.eventually("both zones are there", func() error {
		if got := front.ec2("describe-availability-zones", "--query", "AvailabilityZones[].ZoneName"); got != "az1\taz2" {
			return fmt.Errorf("zones %q\n%s\n%s", got, h1.log.String(), h2.log.String())
		}
		return nil
	})
	n1.enter(front, "node", "az1", "n1", "--join", "10.0.0.1:8774", "--public-interface", "pub")
	n2.enter(front, "node", "az2", "n2", "--join", "10.0.0.1:8774")
	front.eventually("both nodes are in service", func() error {
		out := front.ok(front.eucad, "node", "list", "--dir", front.dir)
		if strings.Count(out, "in service") != 2 {
			return errors.New(out + n1.log.String() + n2.log.String())
		}
		return nil
	})

	image := front.ok(front.eucad, "image", "import", "--dir", front.dir, "--name", "tiny", front.tiny)
	key := filepath.Join(s.Dir, "key.pem")
	if err := os.WriteFile(key, []byte(front.ec2("create-key-pair", "--key-name", "mine", "--key-type", "ed25519", "--query", "KeyMaterial")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	group := front.ec2("create-security-group", "--group-name", "ssh", "--description", "SSH", "--query", "GroupId")
	front.ec2("authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "22", "--cidr", "0.0.0.0/0")
	var ids []string
	for n, zone := range []string{"az1", "az2"} { // public addresses that no machine has
		id := front.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--key-name", "mine", "--placement", "AvailabilityZone="+zone,
			"--network-interfaces", "DeviceIndex=0,AssociatePublicIpAddress=false,Groups="+group, "--query", "Instances[0].InstanceId")
		address := front.ec2("allocate-address", "--address", fmt.Sprintf("198.18.7.%d", n+1), "--query", "AllocationId")
		front.ec2("associate-address", "--allocation-id", address, "--instance-id", id)
		ids = append(ids, id)
	}
	front.ec2("wait", "instance-running", "--instance-ids", ids[0], ids[1])
	look := func(id string) guest {
		g := front.guest(id, key)
		g.h = s.host // who reaches it from outside
		return g
	}
	a, b := look(ids[0]), look(ids[1])
	a.up()
	b.up()
	for _, g := range []guest{a, b} {
		if got := g.sh("imds meta-data/instance-id"); got != g.id {
			t.Errorf("metadata of %s: %s", g.id, got)
		}
	}
	if out, err := a.ssh(a.public, "ping -c 1 -W 2 "+b.private); err == nil {
		t.Errorf("ping from zone to zone passes without a rule: %s", out)
	}
	front.ec2("authorize-security-group-ingress", "--group-id", group, "--ip-permissions", "IpProtocol=icmp,FromPort=-1,ToPort=-1,UserIdGroupPairs=[{GroupId="+group+"}]")
	between := func() error {
		for _, way := range [][2]guest{{a, b}, {b, a}} {
			// Full-size segments, which must not be cut: both zones' tunnels carry them.
			if out, err := way[0].ssh(way[0].public, "ping -c 1 -W 2 -s 1400 "+way[1].private); err != nil {
				return fmt.Errorf("%s to %s: %w %s", way[0].private, way[1].private, err, out)
			}
		}
		return nil
	}
	front.eventually("zones reach each other", between)
	front.eventually("console by way of the head", func() error {
		if text := front.ec2("get-console-output", "--instance-id", b.id, "--query", "Output"); !strings.Contains(text, "ready instance="+b.id) {
			return errors.New(text)
		}
		return nil
	})

	// Head and front end go: guests and traffic go on, and they are found again.
	h2.stop(syscall.SIGKILL)
	front.stop(syscall.SIGKILL)
	if err := between(); err != nil {
		t.Errorf("without head and front end: %v", err)
	}
	h2.launch()
	front.start()
	front.ec2("terminate-instances", "--instance-ids", a.id, b.id)
	front.ec2("wait", "instance-terminated", "--instance-ids", a.id, b.id)
	for _, m := range []*host{h1, n1, h2, n2} {
		m.eventually("nothing is left", func() error {
			if left := m.ok("ip", "netns") + m.ok("virsh", "-q", "list", "--all"); left != "" {
				return errors.New(left)
			}
			return nil
		})
	}
}
