package ec2

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// EC2's network border groups are where public addresses are advertised from,
// and those of one do not lead to zones of another (EC2 docs: "AllocateAddress").
// Here a zone whose head brought public addresses of its own is such a group,
// named as the zone, and all other zones are one, named as the region.

// publicRange returns where interfaces in a zone get public addresses from.
func (s *Server) publicRange(ctx context.Context, rx store.Rx, zone string) (cloud.PublicRange, error) {
	return rx.PublicRange(ctx, zone, s.Cfg.PublicPool)
}

// groupName returns the network border group of the range that is the zone's own.
func (s *Server) groupName(zone string) string {
	if zone == "" {
		return s.Cfg.Region
	}
	return zone
}

// borderGroup returns the range of the group name, or without a name the one
// that has the address want; with neither it is the cloud's.
func (s *Server) borderGroup(ctx context.Context, rx store.Rx, name *string, want netip.Addr) (cloud.PublicRange, error) {
	ranges, err := rx.PublicRanges(ctx, s.Cfg.PublicPool)
	if err != nil {
		return cloud.PublicRange{}, err
	}
	group, named := query.Val(name), query.Val(name) != ""
	if !named {
		group = s.Cfg.Region
	}
	names := []string{s.Cfg.Region}
	found := cloud.PublicRange{}
	for _, r := range ranges {
		if r.Zone != "" {
			names = append(names, r.Zone)
		}
		if s.groupName(r.Zone) == group && (named || !want.IsValid()) || !named && r.Has(want) {
			found = r
		}
	}
	switch {
	case !slices.Contains(names, group):
		return found, invalid("networkBorderGroup", group, "It is one of "+strings.Join(names, ", ")+".")
	case want.IsValid() && !found.Has(want):
		return found, cloud.Faultf("InvalidAddress.NotFound", "Address '%s' is not in this cloud's pool of public addresses.", want)
	case !found.Prefix.IsValid() && len(ranges) > 0:
		return found, cloud.Faultf("InsufficientAddressCapacity", "The network border group %s has no public addresses; those that have some are %s.", group, strings.Join(names[1:], ", "))
	}
	return found, nil
}

// sameGroup refuses to have the address a lead to the interface n, when that is
// in a zone of another network border group.
func (s *Server) sameGroup(ctx context.Context, rx store.Rx, a *cloud.Address, n *cloud.Interface) error {
	r, err := s.publicRange(ctx, rx, n.Zone)
	if err == nil && r.Zone != a.Zone {
		err = cloud.Faultf("InvalidParameterCombination", "The address %s is of the network border group '%s', and the network interface '%s' in zone %s is of '%s': an address cannot be associated with an interface of another group.",
			a.IP, s.groupName(a.Zone), n.ID, n.Zone, s.groupName(r.Zone))
	}
	return err
}
