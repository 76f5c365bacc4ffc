package node

import (
	"net/netip"
	"testing"

	netsim "eucad/net/sim"
	"eucad/roles/plan"
)

// A host goes by the public addresses of its zone, and when the zone has none
// of its own any more by those it started with.
func TestPublicRange(t *testing.T) {
	network := netsim.New()
	a := New(Options{Name: "n", Network: network})
	own := netip.MustParsePrefix("203.0.113.0/26")
	take := func(rev uint64, zone netip.Prefix) netip.Prefix {
		t.Helper()
		hosts := &plan.Hosts{Rev: rev, Hosts: map[string]plan.Host{"n": {Zone: "z"}}, Zones: map[string]plan.Zone{
			"z": {Head: "h", Regime: plan.Edge, Public: zone}, "y": {Head: "i", Public: netip.MustParsePrefix("203.0.113.64/26")}}}
		if err := a.Take(plan.Message{Epoch: 1, Batch: plan.Batch{Rev: rev, Full: true, Hosts: &plan.HostsUpdate{Whole: hosts}}}); err != nil {
			t.Fatal(err)
		}
		if err := a.net.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		return network.Config().Public
	}
	if got := take(1, own); got != own {
		t.Errorf("public addresses of the zone are %s, want %s", got, own)
	}
	if got := take(2, netip.Prefix{}); got.IsValid() {
		t.Errorf("public addresses of a zone without its own are %s", got)
	}
}
