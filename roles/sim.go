package roles

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/api/admin"
	"eucad/hyper"
	"eucad/hyper/sim"
	"eucad/roles/frontend"
	"eucad/roles/node"
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
	f, err := openFrontEnd(ctx, c, "sim", zs, func(ctx context.Context, i cloud.Instance) ([]byte, time.Time, error) {
		a := agents[i.Node]
		if a == nil {
			return nil, time.Time{}, fmt.Errorf("instance %s is on no node", i.ID)
		}
		return a.Console(ctx, i.ID)
	}, importSim, nil, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	var rows []cloud.Node
	for _, z := range zs {
		for n := range c.SimNodes {
			name := fmt.Sprintf("sim-%s-%d", z, n+1)
			driver, err := sim.New(sim.Options{Host: hyper.Host{CPUs: simCPUs, MemoryMiB: simMemoryMiB, DiskBytes: simDiskGiB << 30}})
			if err != nil {
				return err
			}
			agents[name] = node.New(node.Options{
				Name: name, Driver: driver, Dir: "/sim", Report: f.Control.Report,
				Image: func(_ context.Context, hash string) (string, error) { return "/sim/" + hash, nil },
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
	}
	g.Go(func() error { return f.Run(ctx) })
	return g.Wait()
}

func openFrontEnd(ctx context.Context, c Config, name string, zs []string, console func(context.Context, cloud.Instance) ([]byte, time.Time, error), imp admin.Importer, images func(string) (string, bool), orphans func(context.Context) ([]string, error)) (*frontend.FrontEnd, error) {
	types, err := cloud.LoadTypes(c.TypesFile)
	if err != nil {
		return nil, err
	}
	place, err := policy.Find(c.Policy)
	if err != nil {
		return nil, err
	}
	return frontend.Open(ctx, frontend.Options{
		Dir: c.Dir, Listen: c.Listen, Endpoint: c.Endpoint, Region: c.Region, Domain: c.Domain,
		Zones: zs, PublicPool: c.PublicRange, Types: types, Policy: place, Console: console, Import: imp,
		Name: name, Version: Version, PeerListen: c.PeerListen, Overcommit: c.overcommit(), ImagePath: images, Orphans: orphans,
	})
}
