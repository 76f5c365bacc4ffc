package ec2

import (
	"context"
	"slices"
	"time"

	"eucad/store"
	"eucad/store/cloud"
)

// A place is where one instance goes, and the line of its history that says why.
type place struct {
	node *cloud.Node
	why  cloud.Event
}

// policy says where instances go.
func (s *Server) policy() cloud.Policy {
	if s.Cfg.Policy == nil {
		return cloud.DefaultPolicy
	}
	return s.Cfg.Policy
}

// place finds the subnet in whose zone the most instances fit, up to l.max,
// and a place for each of them.
func (s *Server) place(ctx context.Context, tx store.Tx, l *launch, m cloud.Image, disks []diskPlan, subs []cloud.Subnet) (cloud.Subnet, []place, error) {
	fleet, err := tx.Fleet(ctx)
	if err != nil {
		return cloud.Subnet{}, nil, err
	}
	need := cloud.Need{Type: l.typ.Name, Arch: m.Arch, CPUs: l.typ.CPUs, MemoryMiB: l.typ.MemoryMiB}
	for _, d := range disks {
		if s.Cfg.Pool != cloud.PoolNetwork {
			need.DiskGiB += d.vol.SizeGiB
		}
	}
	if len(subs) > 1 { // the zone that the policy likes best comes first
		if c, err := fleet.Place(s.policy(), need); err == nil {
			zone := fleet[c.At].Node.Zone
			if i := slices.IndexFunc(subs, func(u cloud.Subnet) bool { return u.Zone == zone }); i >= 0 {
				subs[0], subs[i] = subs[i], subs[0]
			}
			if subs[0].Zone == zone && l.max == 1 {
				return subs[0], []place{placed(c, 1)}, nil
			}
		}
	}
	var sub cloud.Subnet
	var best []place
	var short error
	for _, candidate := range subs {
		if len(best) == l.max {
			break
		}
		need.Zone = candidate.Zone
		fit, err := placeMany(slices.Clone(fleet), s.policy(), need, l.max)
		if len(fit) > len(best) {
			sub, best = candidate, fit
		}
		if short == nil {
			short = err
		}
	}
	if len(best) < l.min {
		return sub, nil, short
	}
	return sub, best, nil
}

// placeMany places up to max instances beside each other, which changes the
// fleet; with fewer it tells why there are no more.
func placeMany(fleet cloud.Fleet, p cloud.Policy, need cloud.Need, max int) ([]place, error) {
	var all []place
	for len(all) < max {
		c, err := fleet.Place(p, need)
		if err != nil {
			return all, err
		}
		all = append(all, placed(c, 1))
		fleet.Give(c.At, need)
	}
	return all, nil
}

// placed returns the place that was chosen for the start boot of an instance.
func placed(c cloud.Choice, boot uint64) place {
	c.Explain()
	return place{c.On(), cloud.Event{Kind: cloud.EventPlaced, At: time.Now().UTC(), Boot: boot, Choice: &c}}
}
