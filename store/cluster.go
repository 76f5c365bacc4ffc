package store

import (
	"context"

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

// PutCluster adds or replaces c.
func (tx Tx) PutCluster(ctx context.Context, c cloud.Cluster) error { return clusters.put(ctx, tx, &c) }

// DeleteCluster forgets the cluster of a zone.
func (tx Tx) DeleteCluster(ctx context.Context, zone string) error {
	return clusters.remove(ctx, tx, "", zone)
}
