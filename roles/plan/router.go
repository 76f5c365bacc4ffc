package plan

import (
	"net/netip"
	"slices"
	"strings"

	"eucad/net/fabric"
	"eucad/store/cloud"
)

// NewRouter returns the VPC as the host me should make it, and false when it
// has nothing to make of it. See package fabric for what heads and nodes do in
// either regime.
func NewRouter(v *Vpc, hosts *Hosts, me string) (fabric.Router, bool) {
	out := fabric.Router{ID: v.ID, VNI: v.VNI, CIDRs: v.CIDRs, Subnets: v.Subnets, Domain: v.Domain}
	zone := hosts.Hosts[me].Zone
	regime, head := hosts.Zones[zone].Regime, hosts.IsHead(me)
	near, far := false, false // somebody in our zone, in another
	members := map[string][]netip.Addr{}
	for _, n := range v.Ifaces {
		p := n.Port
		for _, g := range p.Groups {
			members[g] = append(append(members[g], p.Addr), p.Secondary...)
		}
		out.Names = append(out.Names, n.Names...)
		switch other, known := hosts.Hosts[n.Host]; {
		case n.Host == "":
		case n.Host == me:
			out.Ports = append(out.Ports, p)
			near = true
		case known:
			far, near = far || other.Zone != zone, near || other.Zone == zone
			if via := hosts.Via(me, n.Host); via.IsValid() {
				out.Remotes = append(out.Remotes, remotes(p, via)...)
			}
			if head && regime == Head && other.Zone == zone {
				publish(&out, p)
			}
		}
	}
	for id, g := range v.Groups {
		slices.SortFunc(members[id], netip.Addr.Compare)
		out.Groups = append(out.Groups, fabric.Group{ID: id, Members: members[id], Ingress: g.Ingress, Egress: g.Egress})
	}
	switch {
	case head && near:
		out.Transit, out.Gateway = far, regime == Head
	case regime == Head && !head:
		out.Exit = hosts.Hosts[hosts.Zones[zone].Head].Tunnel
	}
	arrange(&out)
	return out, out.Wanted()
}

// remotes returns what of a port on another host, reached via, a router must know.
func remotes(p fabric.Port, via netip.Addr) []fabric.Remote {
	out := []fabric.Remote{{Addr: p.Addr, Host: via, Port: p.ID}}
	for _, a := range p.Secondary {
		out = append(out, fabric.Remote{Addr: a, Host: via, Port: p.ID})
	}
	return out
}

// publish has the router answer for the public addresses of a port on another host.
func publish(r *fabric.Router, p fabric.Port) {
	if r.Publics == nil {
		r.Publics = map[netip.Addr]netip.Addr{}
	}
	if p.Public.IsValid() {
		r.Publics[p.Public] = p.Addr
	}
	for pub, priv := range p.PublicOf {
		r.Publics[pub] = priv
	}
}

// arrange puts what came out of maps in order, so that equal documents make
// equal routers.
func arrange(r *fabric.Router) {
	slices.SortFunc(r.Ports, func(a, b fabric.Port) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(r.Remotes, func(a, b fabric.Remote) int { return a.Addr.Compare(b.Addr) })
	slices.SortFunc(r.Groups, func(a, b fabric.Group) int { return strings.Compare(a.ID, b.ID) })
	slices.SortStableFunc(r.Names, func(a, b fabric.Name) int { return a.Addr.Compare(b.Addr) })
}

// rules translates those of one direction. Rules that differ only in their peer
// become one.
func rules(all []cloud.Rule, egress bool) []fabric.Rule {
	type class struct{ protocol, from, to int }
	at := map[class]int{}
	var out []fabric.Rule
	for _, r := range all {
		if r.Egress != egress {
			continue
		}
		c := class{r.Protocol, r.From, r.To}
		i, ok := at[c]
		if !ok {
			i = len(out)
			at[c] = i
			out = append(out, fabric.Rule{Protocol: r.Protocol, From: r.From, To: r.To})
		}
		switch {
		case r.GroupID != "":
			out[i].Groups = append(out[i].Groups, r.GroupID)
		case r.CIDR.IsValid():
			out[i].Prefixes = append(out[i].Prefixes, r.CIDR)
		}
	}
	slices.SortStableFunc(out, func(a, b fabric.Rule) int {
		if a.Protocol != b.Protocol {
			return a.Protocol - b.Protocol
		}
		if a.From != b.From {
			return a.From - b.From
		}
		return a.To - b.To
	})
	for i := range out {
		slices.SortFunc(out[i].Prefixes, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
		slices.Sort(out[i].Groups)
	}
	return out
}
