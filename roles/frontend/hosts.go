package frontend

import (
	"context"
	"slices"
	"time"

	"eucad/api/admin"
	"eucad/roles/peer"
	"eucad/store"
	"eucad/store/cloud"
)

// Hosts returns what takes in other hosts, nil for nothing.
func (f *FrontEnd) Hosts() admin.Hosts {
	if f.peers == nil {
		return nil
	}
	return f.peers
}

// CreateToken returns a token by which one host may join; see admin.Hosts.
func (p *peers) CreateToken(ctx context.Context, role, zone, name string, life time.Duration) (string, error) {
	if name != "" {
		id := peer.Identity{Role: peer.Role(role), Name: name, Zone: zone}.String()
		if err := p.f.db.Write(ctx, func(tx store.Tx) error { return tx.AdmitHost(ctx, id) }); err != nil {
			return "", err
		}
		if err := p.readDenied(ctx); err != nil {
			return "", err
		}
	}
	t, err := p.authority.CreateToken(ctx, peer.Role(role), zone, life)
	return t.String(), err
}

// RevokeToken takes a token back; see admin.Hosts.
func (p *peers) RevokeToken(ctx context.Context, id string) error {
	return p.authority.Tokens.Revoke(ctx, id, time.Now())
}

// Members returns the hosts that gossip sees; see admin.Hosts.
func (p *peers) Members() []admin.Member {
	var out []admin.Member
	for _, m := range p.pools.Members() {
		out = append(out, admin.Member{Role: string(m.Role), Name: m.Name, Zone: m.Zone, Address: m.Addr, Version: m.Version})
	}
	return out
}

// RemoveHost lets a host out of the cloud; see admin.Hosts.
func (p *peers) RemoveHost(ctx context.Context, name string) error {
	var gone []string
	err := p.f.db.Write(ctx, func(tx store.Tx) error {
		if n, ok, err := tx.Node(ctx, name); err != nil {
			return err
		} else if ok {
			gone = append(gone, peer.Identity{Role: peer.Node, Name: name, Zone: n.Zone}.String())
			if err := tx.DeleteNode(ctx, name); err != nil {
				return err
			}
		}
		clusters, err := tx.Clusters(ctx)
		if err != nil {
			return err
		}
		for _, k := range clusters {
			if k.Head == name {
				gone = append(gone, peer.Identity{Role: peer.Cluster, Name: name, Zone: k.Zone}.String())
				if err := p.f.unhead(ctx, tx, k); err != nil {
					return err
				}
			}
		}
		joined, err := tx.HostsNamed(ctx, name) // it may have said nothing yet
		if err != nil {
			return err
		}
		for _, id := range joined {
			if !slices.Contains(gone, id) {
				gone = append(gone, id)
			}
		}
		if len(gone) == 0 {
			return cloud.Faultf("NoSuchEntity", "There is no host %s; eucad node list and eucad members name them.", name)
		}
		for _, id := range gone {
			if err := tx.FreeHost(ctx, id); err != nil {
				return err
			}
		}
		return tx.DenyHosts(ctx, gone...)
	})
	if err != nil {
		return err
	}
	if err := p.readDenied(ctx); err != nil {
		return err
	}
	return p.newKeys(ctx) // it knows the old ones
}

// readDenied has those who were removed shut out, here and by all other hosts.
func (p *peers) readDenied(ctx context.Context) error {
	err := p.f.db.Read(ctx, func(rx store.Rx) error {
		denied, err := rx.DeniedHosts(ctx)
		if err == nil {
			p.deny.Set(denied)
		}
		return err
	})
	p.news.spread()
	return err
}
