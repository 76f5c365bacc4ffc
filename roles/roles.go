// Package roles starts the parts that this process was asked to play.
//
// A front end (roles/frontend) serves the APIs, owns the store and decides
// what every node should be (roles/control, in terms of roles/plan); a node
// (roles/node) makes its host match.
package roles

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"

	"eucad/store/cloud"
)

// A Config says what to play and how. Default has what may be left out.
type Config struct {
	Roles []string // frontend, cluster, node; or all
	Dir   string   // state of this host

	Listen   string // address of the EC2 API
	Endpoint string // URL under which clients reach it; "" derives it from Listen
	Region   string
	Domain   string // of public DNS names

	PublicRange     netip.Prefix // of public addresses; the zero Prefix for none, or on a zone's head for the cloud's
	PublicInterface string       // device of its network; "" makes it host-only

	Hypervisor    string  // "libvirt" or "sim"
	Libvirt       string  // libvirtd's socket; "" finds it
	LibvirtLogs   string  // where libvirt keeps QEMU's logs; "" is its default
	CPUOvercommit float64 // virtual CPUs for each of the host's
	TypesFile     string  // instance types beside EC2's

	Policy                           string  // of placement; see roles/policy
	MemoryOvercommit, DiskOvercommit float64 // for each of the host's

	SimZones, SimNodes int    // the simulator's zones, and nodes in each
	SimPool            string // of the simulator's volumes: cloud.PoolNode or cloud.PoolNetwork

	PeerListen string // address for other hosts of the cloud; "" on a front end takes none
	Join       string // host:port of the front end, or of the zone's head
	Token      string // lets this host join, once
	Zone       string // of the token; "" believes it
	Mesh       string // on: guests' packets between hosts are encrypted; off: they are not
	Regime     string // of the zone's public addresses: edge or head
}

// Version is of this eucad.
const Version = "0.2.0"

// Default returns the settings that work without being told.
func Default() Config {
	return Config{
		Dir:           "/var/lib/eucad",
		Listen:        "127.0.0.1:8773", // 8773 is the port Eucalyptus had
		Region:        "eucad-1",
		Domain:        "eucad.internal",
		PublicRange:   netip.MustParsePrefix("198.18.0.0/16"), // RFC 2544: not in use at any site
		Hypervisor:    "libvirt",
		CPUOvercommit: 4,

		Policy:           cloud.DefaultPolicy.Name(),
		MemoryOvercommit: 1,
		DiskOvercommit:   1,

		Regime: "edge",
		Mesh:   "on",

		SimZones: 1,
		SimNodes: 1,
		SimPool:  cloud.PoolNode,
	}
}

// overcommit returns what instances may be promised for what a host has.
func (c Config) overcommit() cloud.Overcommit {
	return cloud.Overcommit{CPU: c.CPUOvercommit, Memory: c.MemoryOvercommit, Disk: c.DiskOvercommit}
}

// memorySoftLimit is where the garbage collector starts to work harder: an
// idle eucad should leave the host's memory to guests.
const memorySoftLimit = 24 << 20

// Run plays the roles of c until ctx ends or one of them fails.
func Run(ctx context.Context, c Config) error {
	debug.SetGCPercent(50)
	if c.Regime != "edge" && c.Regime != "head" {
		return fmt.Errorf("--regime is edge or head, not %q", c.Regime)
	}
	if c.Mesh != "on" && c.Mesh != "off" {
		return fmt.Errorf("--mesh is on or off, not %q", c.Mesh)
	}
	switch {
	case c.SimPool != "" && c.SimPool != cloud.PoolNode && c.SimPool != cloud.PoolNetwork:
		return fmt.Errorf("--sim-pool is node or network, not %q", c.SimPool)
	case c.SimPool == cloud.PoolNetwork && (c.Hypervisor != "sim" || strings.Join(c.Roles, ",") != "all"):
		return errors.New("--sim-pool network is for --role all --hypervisor sim only: real guests have their disks on their node in this version")
	}
	if c.Hypervisor != "libvirt" && c.Hypervisor != "sim" {
		return fmt.Errorf("--hypervisor is libvirt or sim, not %q", c.Hypervisor)
	}
	play := runHost
	switch roles := strings.Join(c.Roles, ","); roles {
	case "all":
		if c.Hypervisor == "sim" {
			play = runSim
		}
	case "frontend":
		play = runFrontEnd
	case "node", "cluster", "cluster,node", "node,cluster":
		if c.PeerListen == "" {
			c.PeerListen = "0.0.0.0:8774"
		}
		play = runRemote
	default:
		return fmt.Errorf("--role is all, frontend, cluster, node, or cluster,node; not %s", roles)
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	err = play(ctx, c)
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 && c.Hypervisor != "sim" {
		return fmt.Errorf("%w: guests and their networks need the superuser; run eucad by sudo, or without guests by --hypervisor sim", err)
	}
	return err
}

// zones returns the names of n zones: "eucad-1a", "eucad-1b", ….
func zones(region string, n int) ([]string, error) {
	const most = 16 // subnets of a default VPC
	if n < 1 || n > most {
		return nil, errors.New("a cloud has 1 to 16 zones")
	}
	var out []string
	for i := range n {
		out = append(out, region+string(rune('a'+i)))
	}
	return out, nil
}
