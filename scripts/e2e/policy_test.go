package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Policies place instances as they say, on nodes of one size with room for two
// each: three instances, then the second one goes, then two more come.
func TestPolicies(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]struct{ nodes, asleep string }{
		"spread":     {"n1 n2 n3 n2 n4", ""},   // the emptiest
		"roundrobin": {"n1 n2 n3 n4 n1", ""},   // the next by name
		"greedy":     {"n1 n1 n2 n1 n2", ""},   // the fullest
		"powersave":  {"n1 n1 n2 n1 n2", "n4"}, // the fullest, and all that are empty but one may sleep
		"last.star":  {"n4 n4 n3 n4 n3", ""},   // the site's own
	} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			if strings.HasSuffix(policy, ".star") {
				policy = filepath.Join(t.TempDir(), policy)
				if err := os.WriteFile(policy, []byte("def place(need, nodes):\n    return nodes[-1].name\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l := newLab(t, `
host outside -
host front   -   lan=10.9.0.1/24  -- --role frontend --peer-listen 10.9.0.1:8774 --cpu-overcommit 0.03125 --policy `+policy+`
host h1      az1 lan=10.9.0.11/24 -- --role cluster --join 10.9.0.1:8774 --hypervisor sim
host n1      az1 lan=10.9.0.21/24 -- --role node --join 10.9.0.11:8774 --hypervisor sim
host n2      az1 lan=10.9.0.22/24 -- --role node --join 10.9.0.11:8774 --hypervisor sim
host n3      az1 lan=10.9.0.23/24 -- --role node --join 10.9.0.11:8774 --hypervisor sim
host n4      az1 lan=10.9.0.24/24 -- --role node --join 10.9.0.11:8774 --hypervisor sim
`)
			front := l.front("front")
			image := simImage(front)
			var ids, nodes []string
			launch := func(count string) {
				out := front.ec2("run-instances", "--image-id", image, "--instance-type", "t2.nano", "--count", count, "--query", "Instances[].InstanceId")
				for _, id := range strings.Fields(out) {
					ids, nodes = append(ids, id), append(nodes, nodeOf(front, id))
				}
			}
			launch("3")
			front.terminate(ids[1])
			launch("2")
			if got := strings.Join(nodes, " "); got != want.nodes {
				t.Errorf("instances are on %s, want %s", got, want.nodes)
			}
			if got := front.ok("sh", "-c", "eucad node list | awk '/may sleep/ {print $1}'"); got != want.asleep {
				t.Errorf("nodes that may sleep: %q, want %q", got, want.asleep)
			}
		})
	}
}
