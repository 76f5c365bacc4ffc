package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
)

var routerID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// Check reports all that makes a router impossible, by name.
func (r *Router) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !routerID.MatchString(r.ID) {
		bad("router %q: an id has 1 to 40 small letters, digits and hyphens", r.ID)
	}
	for _, p := range r.CIDRs {
		if !p.Addr().Is4() || p.Bits() > 28 {
			bad("router %s: CIDR %s is no IPv4 prefix of /28 or shorter", r.ID, p)
		}
	}
	subnets := map[string]netip.Prefix{}
	for _, s := range r.Subnets {
		if !s.Prefix.Addr().Is4() || s.Prefix.Bits() > 29 {
			bad("subnet %s: %s is no IPv4 prefix of /29 or shorter", s.ID, s.Prefix)
		}
		subnets[s.ID] = s.Prefix
	}
	taken := map[string]string{} // what may be there once, by the port that has it
	once := func(p *Port, what string) {
		if other, ok := taken[what]; ok {
			bad("port %s: has the same %s as %s", p.ID, what, other)
		}
		taken[what] = p.ID
	}
	for i := range r.Ports {
		p := &r.Ports[i]
		if mac, err := net.ParseMAC(p.MAC); err != nil || len(mac) != 6 {
			bad("port %s: %q is no MAC address", p.ID, p.MAC)
		}
		if p.Tap == "" || len(p.Tap) > 15 {
			bad("port %s: a device's name has 1 to 15 bytes: %q", p.ID, p.Tap)
		}
		if s, ok := subnets[p.Subnet]; !ok {
			bad("port %s: there is no subnet %q", p.ID, p.Subnet)
		} else if !s.Contains(p.Addr) {
			bad("port %s: its address %s is not in its subnet %s", p.ID, p.Addr, s)
		}
		once(p, "id "+p.ID)
		once(p, "tap "+p.Tap)
		for _, a := range p.addrs() {
			if !a.Is4() {
				bad("port %s: %s is no IPv4 address", p.ID, a)
			}
			once(p, "address "+a.String())
		}
		for pub, priv := range p.publics() {
			if !pub.Is4() || !priv.Is4() {
				bad("port %s: public address %s of %s: not both are IPv4", p.ID, pub, priv)
			}
			once(p, "public address "+pub.String())
		}
	}
	for pub, priv := range r.Publics {
		if !pub.Is4() || !priv.Is4() {
			bad("public address %s of %s: not both are IPv4", pub, priv)
		}
		if other, ok := taken["public address "+pub.String()]; ok {
			bad("public address %s: is of port %s, and of %s elsewhere", pub, other, priv)
		}
	}
	if len(r.Publics) > 0 && !r.Gateway {
		bad("router %s: has public addresses of other hosts' ports and is no gateway", r.ID)
	}
	if r.Exit.IsValid() && r.Gateway {
		bad("router %s: is a gateway and has an exit", r.ID)
	}
	return errors.Join(append(errs, r.checkRemotes())...)
}

// checkRemotes reports what makes it impossible to reach other hosts.
func (r *Router) checkRemotes() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if (len(r.Remotes) > 0 || r.Exit.IsValid()) && (r.VNI < 1 || r.VNI >= 1<<24) {
		bad("router %s: VNI %d is not in 1 to 2^24-1", r.ID, r.VNI)
	}
	hosts := map[[4]byte]netip.Addr{} // by the hop that stands for them
	host := func(a netip.Addr) bool {
		if !a.Is4() {
			return false
		}
		k := hopOf(a).As4()
		if other, ok := hosts[k]; !ok {
			hosts[k] = a
		} else if other != a {
			bad("router %s: hosts %s and %s differ in the first four bits only", r.ID, a, other)
		}
		return true
	}
	if r.Exit.IsValid() && !host(r.Exit) {
		bad("router %s: exit %s is no IPv4 address", r.ID, r.Exit)
	}
	for _, m := range r.Remotes {
		if !m.Addr.Is4() || !host(m.Host) {
			bad("remote address %s at %s: not both are IPv4", m.Addr, m.Host)
		}
	}
	sorted := r.Remotes
	if !slices.IsSortedFunc(sorted, byAddr) {
		sorted = slices.SortedFunc(slices.Values(sorted), byAddr)
	}
	for i := range sorted {
		if i > 0 && sorted[i].Addr == sorted[i-1].Addr {
			bad("remote address %s: is there twice", sorted[i].Addr)
		}
	}
	return errors.Join(errs...)
}
