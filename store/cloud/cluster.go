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

// A Net is how other hosts reach a host.
type Net struct {
	Addr     string     `json:",omitempty"` // of its peer API: "10.0.0.2:8774"
	Tunnel   netip.Addr `json:",omitzero"`  // where it takes guests' packets of other hosts; the zero Addr: nowhere
	Key      string     `json:",omitempty"` // public key in the mesh
	Endpoint string     `json:",omitempty"` // where its mesh is reached: "10.0.0.2:8775"
}
