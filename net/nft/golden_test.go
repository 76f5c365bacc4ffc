package nft

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected texts in testdata")

// TestGolden holds the text of compiled tables, to be read in reviews.
func TestGolden(t *testing.T) {
	t.Parallel()
	bare := Router{Uplink: "up0", Address: addr("100.127.0.1"), Transit: netip.MustParsePrefix("100.127.0.0/16")}
	host := Host{Devices: "euv*", Transit: bare.Transit, Public: netip.MustParsePrefix("198.51.100.0/24"), Ports: []uint16{8773}}
	open := host
	open.Open = true
	node := web()
	node.Tunnel = "vx0"
	head := bare
	head.Tunnel, head.Relay, head.Gateway, head.Behind = "vx0", true, true, addr("100.127.255.254")
	head.Public = map[netip.Addr]netip.Addr{addr("198.51.100.7"): addr("10.0.0.10")}
	gateway := head
	gateway.Relay = false
	relay := bare
	relay.Tunnel, relay.Relay = "vx0", true
	joined := host
	joined.Tunnel, joined.Peers = true, []netip.Addr{addr("192.0.2.2"), addr("192.0.2.1")}
	meshed := joined
	meshed.Open, meshed.Mesh = true, "eucad0"
	for name, got := range map[string]*Ruleset{
		"bare":      Compile(bare),
		"web":       Compile(web()),
		"arp":       CompileARP(web()),
		"host":      CompileHost(host),
		"host_open": CompileHost(open),
		"node":      Compile(node),
		"head":      Compile(head),
		"gateway":   Compile(gateway),
		"relay":     Compile(relay),
		"host_vx":   CompileHost(joined),
		"host_mesh": CompileHost(meshed),
	} {
		path := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got.String()); d != "" {
			t.Errorf("%s (-want +got; go test -update rewrites it):\n%s", name, d)
		}
	}
}
