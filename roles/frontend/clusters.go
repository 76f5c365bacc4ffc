package frontend

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"

	"eucad/roles/peer"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// zones returns the availability zones there are.
func (f *FrontEnd) zones() []string { return *f.zoneNames.Load() }

// readZones makes of the clusters in the store the zones there are.
func (f *FrontEnd) readZones(ctx context.Context, rx store.Rx) error {
	names := slices.Clone(f.opt.Zones)
	clusters, err := rx.Clusters(ctx)
	for _, c := range clusters {
		if !slices.Contains(names, c.Zone) {
			names = append(names, c.Zone)
		}
	}
	f.zoneNames.Store(&names)
	return err
}

// addSubnets gives every default VPC a subnet in each zone.
func (f *FrontEnd) addSubnets(ctx context.Context, tx store.Tx) error {
	all, err := tx.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		if err := tx.AddMissingSubnets(ctx, a.ID, f.zones()); err != nil {
			return err
		}
	}
	return nil
}

// fault is a refusal that a host shows its operator.
func fault(format string, args ...any) error {
	return peer.Errorf(http.StatusConflict, "Conflict", format, args...)
}

// AddCluster adds or updates the row of a zone's head. One that has the cloud's
// public addresses has none of its own.
func (f *FrontEnd) AddCluster(ctx context.Context, c cloud.Cluster) error {
	if c.PublicRange == f.opt.PublicPool {
		c.PublicRange = netip.Prefix{}
	}
	return f.db.Write(ctx, func(tx store.Tx) error {
		was, known, err := tx.Cluster(ctx, c.Zone)
		if err != nil {
			return err
		}
		if known && was.Head != "" && was.Head != c.Head {
			return fault("the zone %s has the head %s already; remove that one first (eucad node remove %s), or join %s as another zone", c.Zone, was.Head, was.Head, c.Head)
		}
		if !known || was.PublicRange != c.PublicRange {
			if err := f.checkRange(ctx, tx.Rx, c); err != nil {
				return err
			}
		}
		if err := tx.PutCluster(ctx, c); err != nil {
			return err
		}
		if err := f.readZones(ctx, tx.Rx); err != nil {
			return err
		}
		return f.addSubnets(ctx, tx)
	})
}

// checkRange says why the public addresses of a zone can't be those that its
// head brings.
func (f *FrontEnd) checkRange(ctx context.Context, rx store.Rx, c cloud.Cluster) error {
	if c.PublicRange.IsValid() {
		if err := plan.CheckPublicRange(c.PublicRange); err != nil {
			return fault("zone %s: %s", c.Zone, err)
		}
		ranges, err := rx.PublicRanges(ctx, f.opt.PublicPool)
		if err != nil {
			return err
		}
		for _, r := range ranges {
			switch {
			case r.Zone == c.Zone || !r.Prefix.Overlaps(c.PublicRange):
			case r.Zone == "":
				return fault("the public range %s of zone %s overlaps with the cloud's own %s; choose another one for its head's --public-range", c.PublicRange, c.Zone, r.Prefix)
			default:
				return fault("the public range %s of zone %s overlaps with %s; choose another one for its head's --public-range", c.PublicRange, c.Zone, r)
			}
		}
	}
	all, err := rx.AddressesOfZone(ctx, c.Zone)
	if err != nil {
		return err
	}
	now := cloud.PublicRange{Prefix: c.PublicRange}
	if c.PublicRange.IsValid() {
		now.Zone = c.Zone
	}
	var left []cloud.Address
	for _, a := range all {
		if a.Zone != now.Zone || now.Zone != "" && !now.Has(a.IP) {
			left = append(left, a)
		}
	}
	if len(left) == 0 {
		return nil
	}
	instead := "those of the cloud"
	if now.Zone != "" {
		instead = now.Prefix.String()
	}
	return fault("the public addresses of zone %s cannot become %s yet, for others are in use there (%d, such as %s); release them and stop the instances that have them, or start the head with the --public-range that it had", c.Zone, instead, len(left), left[0].IP)
}

// checkPool says why the cloud's public addresses can't be those of the options.
func (f *FrontEnd) checkPool(ctx context.Context, rx store.Rx) error {
	p := f.opt.PublicPool
	if p.IsValid() {
		if err := plan.CheckPublicRange(p); err != nil {
			return err
		}
	}
	ranges, err := rx.PublicRanges(ctx, p)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if r.Zone != "" && r.Prefix.Overlaps(p) {
			return fmt.Errorf("the public range %s overlaps with %s; choose another --public-range", p, r)
		}
	}
	used, err := rx.AddressesOfZone(ctx, "")
	if err != nil {
		return err
	}
	used = slices.DeleteFunc(used, func(a cloud.Address) bool { return p.IsValid() && p.Contains(a.IP) })
	if len(used) > 0 {
		slog.Warn("public addresses that are in use are not in the cloud's range any more: nobody reaches them", "range", p.String(), "count", len(used), "one", used[0].IP.String())
	}
	return nil
}

// unhead takes the head away from a zone. A zone whose own public addresses are
// in use goes on without one: another head must bring them.
func (f *FrontEnd) unhead(ctx context.Context, tx store.Tx, c cloud.Cluster) error {
	if c.PublicRange.IsValid() {
		used, err := tx.AddressesOfZone(ctx, c.Zone)
		if err != nil {
			return err
		}
		if len(used) > 0 {
			return tx.PutCluster(ctx, cloud.Cluster{Zone: c.Zone, Regime: c.Regime, PublicRange: c.PublicRange})
		}
	}
	return tx.DeleteCluster(ctx, c.Zone)
}
