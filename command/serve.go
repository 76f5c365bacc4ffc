package command

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"eucad/roles"
)

// serveFlags are the settings of a running eucad: all there are.
func serveFlags() []cli.Flag {
	d := roles.Default()
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "role", Usage: "what this process does: frontend, cluster, node, or all of them"},
		&cli.StringFlag{Name: "listen", Value: d.Listen, Usage: "address of the EC2 API"},
		&cli.StringFlag{Name: "endpoint", Usage: "URL under which clients reach the API (default: from --listen)"},
		&cli.StringFlag{Name: "region", Value: d.Region, Usage: "name of the region"},
		&cli.StringFlag{Name: "domain", Value: d.Domain, Usage: "domain of public DNS names"},
		&cli.StringFlag{Name: "public-range", Value: d.PublicRange.String(), Usage: "public addresses for instances, `CIDR`; \"none\" for a cloud without; on a zone's head: addresses of the zone's own (default there: the cloud's)"},
		&cli.StringFlag{Name: "public-interface", Usage: "network device to which --public-range belongs (default: only this host reaches it)"},
		&cli.StringFlag{Name: "hypervisor", Value: d.Hypervisor, Usage: "libvirt, or sim: pretend, without root or libvirt"},
		&cli.StringFlag{Name: "libvirt", Usage: "libvirtd's socket (default: where libvirt has it)"},
		&cli.Float64Flag{Name: "cpu-overcommit", Value: d.CPUOvercommit, Usage: "virtual CPUs for each CPU of the host"},
		&cli.Float64Flag{Name: "memory-overcommit", Value: d.MemoryOvercommit, Usage: "memory for instances, for each of the host's"},
		&cli.Float64Flag{Name: "disk-overcommit", Value: d.DiskOvercommit, Usage: "disk for instances, for each of the host's"},
		&cli.StringFlag{Name: "policy", Value: d.Policy, Usage: "where instances go: spread, greedy, roundrobin, powersave, or a `FILE.star` of your own"},
		&cli.StringFlag{Name: "types", Usage: "JSON `FILE` with instance types beside EC2's own"},
		&cli.IntFlag{Name: "sim-zones", Value: d.SimZones, Usage: "availability zones of the simulator"},
		&cli.IntFlag{Name: "sim-nodes", Value: d.SimNodes, Usage: "simulated nodes in each zone"},
		&cli.StringFlag{Name: "sim-pool", Value: d.SimPool, Usage: "where the simulator's volumes are: node (they die with it), or network (instances restart elsewhere)"},
		&cli.StringFlag{Name: "peer-listen", Usage: "address for the cloud's other hosts (default for frontend, cluster and node: 0.0.0.0:8774; for all: none, and then it must be this host's own)"},
		&cli.StringFlag{Name: "join", Usage: "`HOST:PORT` of the cloud's front end, or of the zone's head; later only if it has moved and is not found"},
		&cli.StringFlag{Name: "token", Usage: "lets this host join, once; eucad token create prints one"},
		&cli.StringFlag{Name: "regime", Value: d.Regime, Usage: "which hosts of a zone have the public network: edge (all), or head (only its head)"},
		&cli.StringFlag{Name: "mesh", Value: d.Mesh, Usage: "encrypt guests' packets between hosts (WireGuard): on, or off, for a network that is the hosts' own; the same on all hosts"},
		&cli.StringFlag{Name: "log", Value: "info", Usage: "how much to log: debug, info, warn or error"},
	}
}

// maxOvercommit bounds what a typing error may promise.
const maxOvercommit = 1000

// config reads the flags.
func config(c *cli.Context) (roles.Config, error) {
	cfg := roles.Default()
	cfg.Roles = c.StringSlice("role")
	cfg.Dir = c.String("dir")
	cfg.Listen, cfg.Endpoint = c.String("listen"), c.String("endpoint")
	cfg.Region, cfg.Domain = c.String("region"), c.String("domain")
	cfg.PublicInterface = c.String("public-interface")
	cfg.Hypervisor, cfg.Libvirt = c.String("hypervisor"), c.String("libvirt")
	cfg.CPUOvercommit, cfg.TypesFile = c.Float64("cpu-overcommit"), c.String("types")
	cfg.Policy, cfg.MemoryOvercommit, cfg.DiskOvercommit = c.String("policy"), c.Float64("memory-overcommit"), c.Float64("disk-overcommit")
	for _, name := range []string{"cpu-overcommit", "memory-overcommit", "disk-overcommit"} {
		if v := c.Float64(name); !(v > 0 && v <= maxOvercommit) {
			return cfg, fmt.Errorf("--%s is more than 0 and at most %d, not %g", name, maxOvercommit, v)
		}
	}
	cfg.PeerListen, cfg.Join, cfg.Token, cfg.Regime, cfg.Mesh = c.String("peer-listen"), c.String("join"), c.String("token"), c.String("regime"), c.String("mesh")
	cfg.SimZones, cfg.SimNodes = c.Int("sim-zones"), c.Int("sim-nodes")
	cfg.SimPool = c.String("sim-pool")
	var err error
	if cfg.PublicRange, err = publicRange(cfg.Roles, c.String("public-range"), c.IsSet("public-range")); err != nil {
		return cfg, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log"))); err != nil {
		return cfg, fmt.Errorf("--log is debug, info, warn or error, not %q", c.String("log"))
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	return cfg, nil
}

// publicRange reads --public-range as a process with these roles takes it.
func publicRange(does []string, s string, set bool) (none netip.Prefix, _ error) {
	head, remote := slices.Contains(does, "cluster"), !slices.Contains(does, "all") && !slices.Contains(does, "frontend")
	switch {
	case remote && !set:
		return none, nil // the front end says
	case remote && !head:
		return none, errors.New("--public-range is for the front end, and for heads whose zone has public addresses of its own; a node is told")
	case remote && s == "none":
		return none, errors.New("--public-range none is for the front end; a zone has the cloud's public addresses or its own")
	case s == "none":
		return none, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || p.Bits() > 30 {
		return none, fmt.Errorf("--public-range %s is no IPv4 range such as 198.18.0.0/16", s)
	}
	return p.Masked(), nil
}

func purgeCommand() *cli.Command {
	return &cli.Command{
		Name:  "purge",
		Usage: "take everything of eucad's off this host: guests with their disks, network, store (stop eucad first)",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", Usage: "yes, really: all instances, images and accounts kept here are lost"},
			&cli.StringFlag{Name: "libvirt", Usage: "libvirtd's socket (default: where libvirt has it)"},
		},
		Action: func(c *cli.Context) error {
			if !c.Bool("yes") {
				return fmt.Errorf("this deletes all instances, images and accounts in %s; if that is what you want, add --yes", dir(c))
			}
			cfg := roles.Default()
			cfg.Dir, cfg.Libvirt = dir(c), c.String("libvirt")
			return roles.Purge(c.Context, cfg)
		},
	}
}
