package cloud

import (
	"fmt"
	"net/netip"
	"testing"
)

// Zones get a subnet each, whatever the order in which they come.
func TestDefaultSubnets(t *testing.T) {
	v := Vpc{ID: "vpc-1", CIDR: DefaultCIDR}
	used := Subnet{Zone: "elsewhere", CIDR: netip.MustParsePrefix("172.31.20.0/24")} // a user's own
	for _, tt := range []struct {
		name  string
		have  []Subnet
		zones []string
		want  string
	}{
		{"first", nil, []string{"a", "b"}, "a 172.31.0.0/20 b 172.31.16.0/20 "},
		{"none is missing", []Subnet{{Zone: "a", CIDR: netip.MustParsePrefix("172.31.0.0/20")}}, []string{"a"}, ""},
		{"before another", []Subnet{{Zone: "b", CIDR: netip.MustParsePrefix("172.31.0.0/20")}}, []string{"a", "b", "c"}, "a 172.31.16.0/20 c 172.31.32.0/20 "},
		{"around others", []Subnet{used}, []string{"a", "b"}, "a 172.31.0.0/20 b 172.31.32.0/20 "},
	} {
		got := ""
		for _, s := range DefaultSubnets(v, tt.have, tt.zones) {
			got += fmt.Sprint(s.Zone, " ", s.CIDR, " ")
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	var many []string
	for n := range MaxZones + 2 {
		many = append(many, fmt.Sprint("z", n))
	}
	if got := len(DefaultSubnets(v, nil, many)); got != MaxZones {
		t.Errorf("%d subnets for more zones than there is room for, want %d", got, MaxZones)
	}
}
