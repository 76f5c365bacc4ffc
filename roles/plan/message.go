package plan

import (
	"net/netip"

	"eucad/store/cloud"
)

// A Message is one line of the stream by which a front end tells a host its
// plan. Epoch tells one life of the store from another (it grows when a store
// is restored), and Rev of the Batch one moment of it from another: a host
// refuses what is older than what it has.
type Message struct {
	Epoch uint64
	Batch
}

// A Welcome is what a host learns when it joins, and again whenever it renews
// its certificate: what must be the same on all hosts.
type Welcome struct {
	PublicRange netip.Prefix `json:",omitzero"` // of public addresses; the zero Prefix for none
	Mesh        netip.Addr   `json:",omitzero"` // this host's own in MeshPrefix
}

// MeshPrefix are the addresses that hosts have in the mesh: of RFC 6598's
// shared space, beside the one that package fabric takes for links to routers.
var MeshPrefix = netip.MustParsePrefix("100.126.0.0/16")

// A Hello is what a host tells the front end of itself, when it starts and
// whenever it changes.
type Hello struct {
	Version string
	Net     cloud.Net
	Node    *NodeHello    `json:",omitempty"` // it runs guests
	Cluster *ClusterHello `json:",omitempty"` // it is a zone's head
}

// A NodeHello is what a node has to give.
type NodeHello struct {
	Arch, Kind string
	Host       cloud.Capacity // for guests, before over-commit
}

// A ClusterHello is how a head's zone meets the world.
type ClusterHello struct {
	Regime      Regime
	PublicRange netip.Prefix `json:",omitzero"`
}

// Paths of the front end's peer API. Statuses go to ReportPath, a Hello to
// HelloPath; PlanPath streams Messages, and WelcomePath what hosts learn when
// they join, whenever it changes; LeasePath keeps a host's lease.
const (
	PlanPath   = "/plan"
	ReportPath = "/report"
	HelloPath  = "/hello"
	LeasePath  = "/lease"

	WelcomePath = "/welcome"
	ImagePath   = "/image/" // and a content hash

	RefusedPath = "/plan/refused" // takes a Refused

	ConsolePath = "/console/" // of a node, and an instance id
)

// A Console is what a guest last wrote to its serial port.
type Console struct {
	Output []byte
	AtMS   int64 // Unix time; 0 for never
}

// A Refused tells that a host does not take its plan.
type Refused struct{ Why string }
