package cloud

import (
	"net/netip"
	"time"
)

// A Cluster is an availability zone and the host at its head, which relays to
// its nodes, caches images, and passes packets on to other zones.
type Cluster struct {
	Zone        string
	Head        string       // name of the host
	Regime      string       // "edge": every host has the public network; "head": only the head
	PublicRange netip.Prefix // public addresses of its own; the zero Prefix: those of the cloud
	Net         Net
	Version     string `json:",omitempty"`
	Lost        bool   `json:",omitempty"`
	Seen        time.Time
}

// A PublicRange is where public addresses come from: a zone's own, or else the
// cloud's. It is what EC2 calls a network border group: an address of it leads
// only to interfaces of the zones that it is for.
type PublicRange struct {
	Zone   string       // whose own it is; "": the cloud's
	Prefix netip.Prefix // the zero Prefix: there are none
}

// Size is how many addresses there are to give out.
func (r PublicRange) Size() int {
	if !r.Prefix.IsValid() {
		return 0
	}
	return max(1<<(32-r.Prefix.Bits())-2, 0)
}

// Has reports whether ip is an address to give out: one of the range, but for
// its first and last.
func (r PublicRange) Has(ip netip.Addr) bool {
	p := r.Prefix
	return p.IsValid() && p.Contains(ip) && ip != p.Masked().Addr() && p.Contains(ip.Next())
}

// String names the range for people.
func (r PublicRange) String() string {
	if r.Zone == "" {
		return r.Prefix.String()
	}
	return r.Prefix.String() + " of zone " + r.Zone
}

// A Net is how other hosts reach a host.
type Net struct {
	Addr     string     `json:",omitempty"` // of its peer API: "10.0.0.2:8774"
	Tunnel   netip.Addr `json:",omitzero"`  // where it takes guests' packets of other hosts; the zero Addr: nowhere
	Key      string     `json:",omitempty"` // public key in the mesh
	Endpoint string     `json:",omitempty"` // where its mesh is reached: "10.0.0.2:8775"
}
