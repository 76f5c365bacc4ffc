package roles

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/hyper"
	"eucad/hyper/sim"
	"eucad/roles/cluster"
	"eucad/roles/frontend"
	"eucad/roles/node"
	"eucad/roles/plan"
	"eucad/roles/policy"
	"eucad/store/cloud"
)

// Each simulated node is a large server.
const (
	simCPUs      = 4096
	simMemoryMiB = 16 << 20
	simDiskGiB   = 1 << 20
)

// runSim plays a cloud on simulated machines. It needs no root and no libvirt.
func runSim(ctx context.Context, c Config) (err error) {
	zs, err := zones(c.Region, c.SimZones)
	if err != nil {
		return err
	}
	agents := map[string]*node.Agent{}
	volumes := sim.NewVolumes()
	leases := cluster.NewLeases(volumes)
	console := func(ctx context.Context, i cloud.Instance) ([]byte, time.Time, error) {
		a := agents[i.Node]
		if a == nil {
			return nil, time.Time{}, fmt.Errorf("instance %s is on no node", i.ID)
		}
		return a.Console(ctx, i.ID)
	}
	f, err := openFrontEnd(ctx, c, frontend.Options{Name: "sim", Zones: zs, Console: console, Import: importSim, Pool: c.SimPool, Head: leases})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	var rows []cloud.Node
	for _, z := range zs {
		for n := range c.SimNodes {
			name := fmt.Sprintf("sim-%s-%d", z, n+1)
			driver, err := sim.New(sim.Options{Name: name, Volumes: volumes, Host: hyper.Host{CPUs: simCPUs, MemoryMiB: simMemoryMiB, DiskBytes: simDiskGiB << 30}})
			if err != nil {
				return err
			}
			agents[name] = node.New(node.Options{
				Name: name, Driver: driver, Dir: "/sim", Leased: true,
				Report: func(ctx context.Context, s []plan.Status) error { return f.Control.ReportFrom(ctx, name, s) },
				Image:  func(_ context.Context, hash string) (string, error) { return "/sim/" + hash, nil },
			})
			row := cloud.Node{Name: name, Zone: z, Arch: "x86_64", Kind: "sim", Seen: time.Now().UTC()}
			row.SetHost(cloud.Capacity{CPUs: simCPUs, MemoryMiB: simMemoryMiB, DiskGiB: simDiskGiB}, c.overcommit())
			rows = append(rows, row)
		}
	}
	if err := f.AddNode(ctx, rows...); err != nil {
		return err
	}
	for name, a := range agents {
		f.Control.Join(name, a, false)
		g.Go(func() error { return a.Run(ctx) })
		g.Go(func() error { return holdLease(ctx, name, a, askHere(leases, name)) })
	}
	g.Go(func() error { return f.Run(ctx) })
	return g.Wait()
}

// openFrontEnd opens a front end as c says; o has the rest.
func openFrontEnd(ctx context.Context, c Config, o frontend.Options) (*frontend.FrontEnd, error) {
	types, err := cloud.LoadTypes(c.TypesFile)
	if err != nil {
		return nil, err
	}
	place, err := policy.Find(c.Policy)
	if err != nil {
		return nil, err
	}
	o.Dir, o.Listen, o.Endpoint, o.PeerListen = c.Dir, c.Listen, c.Endpoint, c.PeerListen
	o.Region, o.Domain, o.PublicPool = c.Region, c.Domain, c.PublicRange
	o.Types, o.Policy, o.Overcommit, o.Version = types, place, c.overcommit(), Version
	return frontend.Open(ctx, o)
}
