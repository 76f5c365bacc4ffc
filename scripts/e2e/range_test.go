package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// A zone with public addresses of its own, and another one whose head brings
// some that overlap with them; and a head that is somewhere else than it was.
func TestZoneOfItsOwn(t *testing.T) {
	l := newLab(t, `
host outside -   pub=203.0.113.1/25
host front   -   wan=10.9.0.1/24                       -- --role frontend --mesh off
host h1      az1 wan=10.9.0.11/24 az1=10.0.0.1/24      -- --role cluster --join 10.9.0.1:8774 --mesh off --public-range 203.0.113.64/26
host n1      az1 az1=10.0.0.2/24 pub=203.0.113.12/25   -- --role node --join 10.0.0.1:8774 --mesh off --public-interface pub
host h2      az2 wan=10.9.0.12/24                      -- --role cluster --join 10.9.0.1:8774 --mesh off --public-range 203.0.113.96/27
`)
	front := l.front("front")
	const overlap = "the public range 203.0.113.96/27 of zone az2 overlaps with 203.0.113.64/26 of zone az1"
	for _, name := range []string{"front", "h2"} {
		m := l.host(name)
		m.eventually(name+" tells of the overlap", func() error {
			if said := m.said(); !strings.Contains(said, overlap) {
				return errors.New(said)
			}
			return nil
		})
	}
	if got := front.ec2("describe-availability-zones", "--query", "AvailabilityZones[].[ZoneName,NetworkBorderGroup]"); got != "az1\taz1" {
		t.Errorf("zones %q", got)
	}

	own := netip.MustParsePrefix("203.0.113.64/26")
	image := front.ok("eucad", "image", "import", "--name", "tiny", l.tiny)
	key, group := front.access(l.dir)
	id := front.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--key-name", "mine", "--security-group-ids", group, "--query", "Instances[0].InstanceId")
	front.ec2("wait", "instance-running", "--instance-ids", id)
	look := func() guest {
		g := front.guest(id, key)
		g.from = l.host("outside")
		if a, err := netip.ParseAddr(g.public); err != nil || !own.Contains(a) {
			t.Errorf("the instance's public address is %q, want one of %s", g.public, own)
		}
		g.up()
		return g
	}
	look()
	foreign := front.ec2("allocate-address", "--query", "AllocationId")
	front.ec2Fails("InvalidParameterCombination", "associate-address", "--allocation-id", foreign, "--instance-id", id)
	elastic := front.ec2("allocate-address", "--network-border-group", "az1", "--query", "AllocationId")
	front.ec2("associate-address", "--allocation-id", elastic, "--instance-id", id)
	g := look()

	// The zone knows its head by gossip, wherever that is.
	h1 := l.host("h1")
	l.do("kill", "h1", "TERM")
	h1.ok("sh", "-ec", "ip addr del 10.0.0.1/24 dev az1; ip addr add 10.0.0.9/24 dev az1")
	l.do("start", "h1")
	front.eventually("the node is found by way of its head", func() error {
		text, err := front.try("aws", "--endpoint-url", url, "--output", "text", "ec2", "get-console-output", "--instance-id", id, "--query", "Output")
		if err != nil || !strings.Contains(text, "ready instance="+id) {
			return fmt.Errorf("%w: %s", err, text)
		}
		if said := l.host("n1").said(); !strings.Contains(said, "host=eucad://cluster/az1/h1 address=10.0.0.9:8774") {
			return fmt.Errorf("n1 has not found its head: %s", said)
		}
		return nil
	})
	front.eventually("and in service", func() error {
		if out := front.ok("eucad", "node", "list"); !strings.Contains(out, "in service") {
			return errors.New(out)
		}
		return nil
	})
	g.up()
	front.ec2("terminate-instances", "--instance-ids", id)
	front.ec2("wait", "instance-terminated", "--instance-ids", id)
	l.clean("h1", "n1")
}
