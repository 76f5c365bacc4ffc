package store

import (
	"context"
	"net/netip"

	"eucad/store/cloud"
)

var clusters = newTable("cluster", func(c *cloud.Cluster) string { return c.Zone }, func(*cloud.Cluster) string { return "" }, "", nil)

// Clusters returns all clusters, by zone.
func (rx Rx) Clusters(ctx context.Context) ([]cloud.Cluster, error) {
	return clusters.list(ctx, rx, "", nil)
}

// Cluster returns the cluster of a zone, and whether there is one.
func (rx Rx) Cluster(ctx context.Context, zone string) (cloud.Cluster, bool, error) {
	return clusters.find(ctx, rx, zone)
}

// PublicRange returns where interfaces in a zone get public addresses from: the
// zone's own range, or else that of the cloud.
func (rx Rx) PublicRange(ctx context.Context, zone string, ofCloud netip.Prefix) (cloud.PublicRange, error) {
	c, _, err := rx.Cluster(ctx, zone)
	if err == nil && c.PublicRange.IsValid() {
		return cloud.PublicRange{Zone: zone, Prefix: c.PublicRange}, nil
	}
	return cloud.PublicRange{Prefix: ofCloud}, err
}

// PublicRanges returns all that there are: the cloud's, and then those of zones.
func (rx Rx) PublicRanges(ctx context.Context, ofCloud netip.Prefix) ([]cloud.PublicRange, error) {
	var out []cloud.PublicRange
	if ofCloud.IsValid() {
		out = append(out, cloud.PublicRange{Prefix: ofCloud})
	}
	all, err := rx.Clusters(ctx)
	for _, c := range all {
		if c.PublicRange.IsValid() {
			out = append(out, cloud.PublicRange{Zone: c.Zone, Prefix: c.PublicRange})
		}
	}
	return out, err
}

// PutCluster adds or replaces c.
func (tx Tx) PutCluster(ctx context.Context, c cloud.Cluster) error { return clusters.put(ctx, tx, &c) }

// DeleteCluster forgets the cluster of a zone.
func (tx Tx) DeleteCluster(ctx context.Context, zone string) error {
	return clusters.remove(ctx, tx, "", zone)
}
