package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"eucad/roles/peer"
)

// refusedLayout is a cloud, another one, and a host that would belong to one.
const refusedLayout = `
host outside -
host front   -   lan=10.9.0.1/24  -- --role frontend --peer-listen 10.9.0.1:8774
host h1      az1 lan=10.9.0.11/24 -- --role cluster --join 10.9.0.1:8774 --hypervisor sim
host n1      az1 lan=10.9.0.21/24 -- --role node --join 10.9.0.11:8774 --hypervisor sim
host other   -   lan=10.9.0.2/24  -- --role frontend --peer-listen 0.0.0.0:8774
host new     -   lan=10.9.0.99/24
`

// A host that may not join is told why, in one sentence on its terminal, and so
// are the logs of the cloud.
func TestRefusedJoin(t *testing.T) {
	t.Parallel()
	l := newLab(t, refusedLayout)
	front, n := l.host("front"), l.host("new")
	token := func(cloud *machine, args ...string) string {
		return cloud.ok("eucad", append([]string{"token", "create"}, args...)...)
	}
	forged := func(change func(*peer.Token)) string {
		tok, err := peer.ParseToken(token(front, "--zone", "az1"))
		if err != nil {
			t.Fatal(err)
		}
		change(&tok)
		return tok.String()
	}
	used := token(front, "--zone", "az1")
	n.ok("sh", "-c", "mkdir /run/first; echo first >/run/first/name; timeout 2 eucad --dir /run/first --role node --hypervisor sim --join 10.9.0.1:8774 --token "+used+" || true")

	const toFront, toHead, toOther = "10.9.0.1:8774", "10.9.0.11:8774", "10.9.0.2:8774"
	for _, tt := range []struct {
		name, token, role, join string
		host                    string // its name, if not "new"
		here                    string // what the terminal says
		log, there              string // whose log says what; "" where nothing was sent
	}{
		{name: "no token", join: toFront, here: "eucad token create"},
		{name: "damaged", token: token(front, "--zone", "az1")[:40], join: toFront, here: "the token is damaged: copy it again, whole"},
		{name: "wrong", token: forged(func(t *peer.Token) { t.Secret[0] ^= 1 }), join: toFront,
			here: "is not known to this cloud: make a new one", log: "front", there: "is not known to this cloud: make a new one"},
		{name: "expired", token: token(front, "--zone", "az1", "--life", "1ns"), join: toFront,
			here: "expired at", log: "front", there: "expired at"},
		{name: "used", token: used, join: toFront,
			here: "make a new one for each host", log: "front", there: "make a new one for each host"},
		{name: "of another cloud", token: token(l.host("other"), "--zone", "az1"), join: toFront,
			here: "the token is for another cloud than that of " + toFront, log: "front", there: "it takes this host for another one, or for one of another cloud"},
		{name: "to another cloud", token: token(front, "--zone", "az1"), join: toOther,
			here: "the token is for another cloud than that of " + toOther, log: "other", there: "it takes this host for another one, or for one of another cloud"},
		{name: "for a head", token: token(front, "--role", "cluster", "--zone", "az2"), join: toFront,
			here: "the token is for a cluster, and this host is to be a node"},
		{name: "another's name", token: token(front, "--zone", "az1"), join: toFront, host: "n1",
			here: "another host is already eucad://node/az1/n1", log: "front", there: "another host is already eucad://node/az1/n1"},
		{name: "another zone", token: forged(func(t *peer.Token) { t.Zone = "az2" }), join: toFront,
			here: "zone", log: "front", there: "zone"},
		{name: "at another zone's head", token: token(front, "--zone", "az2"), join: toHead,
			here: `which takes no node of zone "az2"`, log: "h1", there: "it takes this host for another one"},
		{name: "second head", token: token(front, "--role", "cluster", "--zone", "az1"), role: "cluster", join: toFront,
			here: "the zone az1 has the head h1 already", log: "front", there: "the zone az1 has the head h1 already"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.role == "" {
				tt.role = "node"
			}
			if tt.host == "" {
				tt.host = "new"
			}
			seen := 0
			if tt.log != "" {
				seen = len(l.host(tt.log).said())
			}
			// A head learns only from the front end that it is one too many, and
			// asks again until somebody makes room.
			out := n.ok("sh", "-c", fmt.Sprintf("rm -rf /run/try; mkdir /run/try; echo %s >/run/try/name; timeout 4 eucad --dir /run/try --role %s --hypervisor sim --join %s --token %q 2>&1 || true",
				tt.host, tt.role, tt.join, tt.token))
			if !strings.Contains(out, tt.here) || tt.role == "node" && strings.Count(out, "\n") > 0 {
				t.Errorf("the host says %q, want one line with %q", out, tt.here)
			}
			if tt.log == "" {
				return
			}
			log := l.host(tt.log)
			log.eventually(tt.log+" says "+tt.there, func() error {
				if said := log.said()[seen:]; !strings.Contains(said, tt.there) {
					return fmt.Errorf("%q", said)
				}
				return nil
			})
		})
	}
	if got := front.ok("sh", "-c", "eucad node list | awk 'NR>1 {print $1}'"); got != "first\nn1" {
		t.Errorf("nodes after all that: %q", got)
	}
}

// What does not come from the cloud, or not from its present, is not obeyed.
func TestForgery(t *testing.T) {
	t.Parallel()
	l := newLab(t, refusedLayout)
	front, n := l.front("front"), l.host("n1")
	says := func(host, what string) {
		t.Helper()
		m := l.host(host)
		m.eventually(host+" says "+what, func() error {
			if said := m.said(); !strings.Contains(said, what) {
				return fmt.Errorf("%q", said)
			}
			return nil
		})
	}

	// A front end on an old copy of its store: its plan is one that was already.
	l.do("kill", "front")
	front.ok("cp", "-a", "/run/eucad", "/run/old")
	l.do("start", "front")
	front.ec2("create-security-group", "--group-name", "one", "--description", "one")
	id := front.ec2("run-instances", "--image-id", simImage(front), "--instance-type", "t2.nano", "--query", "Instances[0].InstanceId")
	front.ec2("wait", "instance-running", "--instance-ids", id)
	l.do("kill", "front")
	front.ok("sh", "-c", "cp -a /run/eucad /run/new && rm -rf /run/eucad/* && cp -a /run/old/. /run/eucad")
	l.do("start", "front")
	says("n1", "refused a plan that is older than the one this host has")
	says("front", "host refuses its plan")
	l.do("kill", "front")
	front.ok("sh", "-c", "rm -rf /run/eucad/* && cp -a /run/new/. /run/eucad")
	l.do("start", "front")
	front.eventually("the instance is as it was", func() error {
		if got := front.ec2("describe-instances", "--instance-ids", id, "--query", "Reservations[0].Instances[0].State.Name"); got != "running" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})

	// Another cloud's front end in the place of the head.
	l.do("crash", "h1")
	l.host("other").ok("ip", "addr", "add", "10.9.0.11/24", "dev", "lan")
	n.ok("ip", "neigh", "flush", "dev", "lan")
	says("other", "it takes this host for another one, or for one of another cloud")
	says("n1", "certificate")
	l.host("other").ok("ip", "addr", "del", "10.9.0.11/24", "dev", "lan")
	l.do("boot", "h1")
	front.eventually("the node is in service again", inService(front, "n1"))

	// Gossip with another key.
	l.do("kill", "n1")
	file := filepath.Join(l.dir, "lab/hosts/n1/state/peer/host.json")
	right, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`"lan":\["[^"]*"\]`)
	if !key.Match(right) {
		t.Fatalf("%s has no key of gossip", file)
	}
	other := `"lan":["` + base64.StdEncoding.EncodeToString(peer.NewGossipKey()) + `"]`
	if err := os.WriteFile(file, key.ReplaceAll(right, []byte(other)), 0o600); err != nil {
		t.Fatal(err)
	}
	l.do("start", "n1")
	says("h1", "gossip comes with another key than this host has")
	says("n1", "gossip comes with another key than this host has")
	l.do("kill", "n1")
	if err := os.WriteFile(file, right, 0o600); err != nil {
		t.Fatal(err)
	}
	l.do("start", "n1")
	front.eventually("the node is in service again", inService(front, "n1"))
}
