package fabric

import (
	"net/netip"
	"slices"
)

// holders say who has which address of a router.
type holders struct {
	local  map[netip.Addr]holder
	remote []Remote // in order of address
}

// A holder has an address: a port has a private one, and a private address has
// a public one.
type holder struct {
	port string
	addr netip.Addr
}

// local returns who has the private addresses of ports here, and the public
// ones of all.
func (r *Router) local() map[netip.Addr]holder {
	out := make(map[netip.Addr]holder, 2*len(r.Ports)+len(r.Publics))
	for i := range r.Ports {
		p := &r.Ports[i]
		for _, a := range p.addrs() {
			out[a] = holder{port: p.ID}
		}
		for pub, priv := range p.publics() {
			out[pub] = holder{addr: priv}
		}
	}
	for pub, priv := range r.Publics {
		out[pub] = holder{addr: priv}
	}
	return out
}

// moved adds to out the addresses that somebody else has now, or nobody.
func (h holders) moved(now holders, out map[netip.Addr]bool) {
	for a, who := range h.local {
		if now.local[a] == who {
			continue
		}
		i, ok := slices.BinarySearchFunc(now.remote, Remote{Addr: a}, byAddr)
		if !ok || now.remote[i].Port != who.port {
			out[a] = true
		}
	}
	for was, is := range differences(h.remote, now.remote) {
		switch {
		case was == nil:
		case is == nil && was.Port != "" && now.local[was.Addr] == holder{port: was.Port}:
		case is != nil && is.Port == was.Port && (is.Port != "" || is.Host == was.Host):
		default:
			out[was.Addr] = true
		}
	}
}
