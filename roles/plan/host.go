package plan

import (
	"fmt"
	"maps"
	"net/netip"

	"eucad/net/fabric"
	"eucad/store/cloud"
)

// Hosts is who is in the cloud, as far as their networks must know each other:
// a document as a Vpc is one.
type Hosts struct {
	Rev   uint64
	Hosts map[string]Host // by name
	Zones map[string]Zone // by name
}

// A Host is a machine of the cloud.
type Host struct {
	Zone     string
	Addr     string     `json:",omitempty"` // of its peer API
	Tunnel   netip.Addr `json:",omitzero"`  // where it takes other hosts' guests' packets; the zero Addr: nowhere
	Key      string     `json:",omitempty"` // public key in the mesh, base64
	Endpoint string     `json:",omitempty"` // where its mesh is reached: address:port
}

// A Regime says which hosts of a zone have the public network.
type Regime string

const (
	Edge Regime = "edge" // every host
	Head Regime = "head" // only the head
)

// A Zone is how its hosts reach the others and the world.
type Zone struct {
	Head   string // the host that passes packets on to other zones; "" for none
	Regime Regime
	Public netip.Prefix `json:",omitzero"` // of public addresses; the zero Prefix: what the host was told when it joined
}

// A HostsUpdate brings Hosts of revision Base to revision Rev, or is Whole.
type HostsUpdate struct {
	Base  uint64           `json:",omitempty"`
	Rev   uint64           `json:",omitempty"`
	Whole *Hosts           `json:",omitempty"`
	Hosts map[string]*Host `json:",omitempty"` // nil: it is gone
	Zones map[string]*Zone `json:",omitempty"`
}

// Update makes the change u in h; see Vpc.Update.
func (h *Hosts) Update(u HostsUpdate) error {
	if u.Whole != nil {
		*h = Hosts{u.Whole.Rev, map[string]Host{}, map[string]Zone{}}
		maps.Copy(h.Hosts, u.Whole.Hosts)
		maps.Copy(h.Zones, u.Whole.Zones)
		return nil
	}
	if u.Base != h.Rev {
		return fmt.Errorf("%w: hosts are of %d, the update is of %d", ErrBase, h.Rev, u.Base)
	}
	if h.Hosts == nil {
		h.Hosts, h.Zones = map[string]Host{}, map[string]Zone{}
	}
	for name, v := range u.Hosts {
		if v == nil {
			delete(h.Hosts, name)
		} else {
			h.Hosts[name] = *v
		}
	}
	for name, z := range u.Zones {
		if z == nil {
			delete(h.Zones, name)
		} else {
			h.Zones[name] = *z
		}
	}
	h.Rev = u.Rev
	return nil
}

// IsHead reports whether the host is the head of its zone.
func (h *Hosts) IsHead(name string) bool {
	v, ok := h.Hosts[name]
	return ok && h.Zones[v.Zone].Head == name
}

// Via returns the tunnel address by which the host me reaches what the host
// other has: its own within a zone, else that of the next head on the way. It
// is the zero Addr when there is no way.
func (h *Hosts) Via(me, other string) netip.Addr {
	from, to := h.Hosts[me], h.Hosts[other]
	if from.Zone == to.Zone {
		return to.Tunnel
	}
	next := h.Zones[from.Zone].Head
	if next == me {
		next = h.Zones[to.Zone].Head
	}
	return h.Hosts[next].Tunnel
}

// taken are ranges that have a meaning for hosts or guests.
var taken = []struct {
	prefix netip.Prefix
	what   string
}{
	{cloud.DefaultCIDR, "of every default VPC"},
	{MeshPrefix, "of the hosts' mesh"},
	{fabric.Transit, "of the links between hosts and their routers"},
	{netip.MustParsePrefix("127.0.0.0/8"), "of each host's own"},
	{netip.MustParsePrefix("169.254.0.0/16"), "of links, and of the metadata service"},
	{netip.MustParsePrefix("224.0.0.0/3"), "of multicast and beyond"},
}

// CheckPublicRange says why a range can't be one of public addresses.
func CheckPublicRange(p netip.Prefix) error {
	for _, t := range taken {
		if t.prefix.Overlaps(p) {
			return fmt.Errorf("the public range %s overlaps with %s, the addresses %s; choose another --public-range", p, t.prefix, t.what)
		}
	}
	return nil
}
