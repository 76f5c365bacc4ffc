package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
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
	return errors.Join(errs...)
}
