package roles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/api/admin"
	"eucad/api/imds"
	"eucad/hyper"
	"eucad/hyper/disk"
	"eucad/hyper/libvirt"
	"eucad/hyper/sim"
	"eucad/net/fabric"
	netsim "eucad/net/sim"
	"eucad/roles/cluster"
	"eucad/roles/frontend"
	"eucad/roles/node"
	"eucad/roles/plan"
	"eucad/store/cloud"
)

// What a host keeps for itself, of which guests get nothing.
const (
	hostMemoryMiB    = 512 // and a twentieth of all it has
	hostDiskPercent  = 5
	hostMemoryFactor = 20
)

// A host is this machine as a node: its hypervisor and its network.
type host struct {
	name   string
	dir    string // "node" below Config.Dir
	driver driver // nil: it runs no guests
	fabric *fabric.Fabric
	agent  *node.Agent
}

// A driver of guests, real or simulated.
type driver interface {
	hyper.Driver
	Close() error
}

// runHost plays all roles on this machine, with real guests.
func runHost(ctx context.Context, c Config) (err error) {
	debug.SetMemoryLimit(memorySoftLimit)
	zs, err := zones(c.Region, 1)
	if err != nil {
		return err
	}
	images, err := disk.OpenStore(disk.StoreOptions{Dir: filepath.Join(c.Dir, "images")})
	if err != nil {
		return err
	}
	h := &host{}
	console := func(ctx context.Context, i cloud.Instance) ([]byte, time.Time, error) {
		if i.Node != h.name {
			return nil, time.Time{}, frontend.ErrNotHere
		}
		return h.agent.Console(ctx, i.ID)
	}
	name, err := nodeName(c.Dir)
	if err != nil {
		return err
	}
	leases := cluster.NewLeases(nil)
	f, err := openFrontEnd(ctx, c, frontend.Options{
		Name: name, Zones: zs, Head: leases, Console: console, Import: importTo(images), ImagePath: images.Path,
		Orphans: func(ctx context.Context) ([]string, error) { return h.agent.Orphans(ctx) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	at, err := peerAddr(c)
	if err != nil {
		return err
	}
	inMesh, err := f.Mesh(ctx)
	if err != nil {
		return err
	}
	w, err := openWire(c, name, inMesh, at.Addr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	err = h.open(c, hostOptions{name: name, wire: w, machines: true, leased: true, report: f.Control.Report, image: func(_ context.Context, hash string) (string, error) {
		path, ok := images.Path(hash)
		if !ok {
			return "", fmt.Errorf("%w: the content %s of its image is not in %s any more", hyper.ErrInvalid, hash, filepath.Join(c.Dir, "images"))
		}
		return path, nil
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()

	g, ctx := errgroup.WithContext(ctx)
	f.Control.Join(h.name, h.agent, true)
	g.Go(func() error { return h.agent.Run(ctx) })
	g.Go(func() error { return holdLease(ctx, h.name, h.agent, askHere(leases, h.name)) })
	g.Go(func() error { return f.Run(ctx) })
	g.Go(func() error { return h.register(ctx, c, zs[0], w.net(at), f) })
	return g.Wait()
}

// hostOptions are what a host is to be, beside the settings.
type hostOptions struct {
	name     string
	wire     *wire  // by which guests' packets go from host to host
	machines bool   // it runs guests
	leased   bool   // it is to renew a lease; see node.Options
	keep     string // file below the host's directory that keeps the plan
	image    func(ctx context.Context, hash string) (string, error)
	report   func(ctx context.Context, s []plan.Status) error
}

// open brings the host's hypervisor and network under our hand. Guests and
// traffic that are there go on undisturbed.
func (h *host) open(c Config, o hostOptions) (err error) {
	h.name, h.dir = o.name, filepath.Join(c.Dir, "node")
	// QEMU's user must be able to search the way to its disks, not to list it.
	for _, dir := range []string{h.dir, filepath.Join(h.dir, "volumes")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	no := node.Options{Name: h.name, Dir: h.dir, Report: o.report, Image: o.image, Leased: o.leased, Hosts: o.wire.follow}
	if c.Hypervisor == "sim" {
		no.Network, err = h.openSim(o)
	} else {
		no.Network, err = h.openReal(c, o)
	}
	if err != nil {
		return errors.Join(err, h.close())
	}
	if h.driver != nil {
		no.Driver = h.driver
	}
	if o.keep != "" {
		no.Keep = filepath.Join(h.dir, o.keep)
	}
	h.agent = node.New(no)
	return nil
}

// openReal opens libvirt, and the network of this machine.
func (h *host) openReal(c Config, o hostOptions) (fabric.Network, error) {
	if o.machines {
		d, err := libvirt.New(libvirt.Options{Dir: h.dir, Socket: c.Libvirt, LogDir: c.LibvirtLogs})
		if err != nil {
			return nil, err
		}
		h.driver = d
	}
	metadata, err := h.metadata()
	if err != nil {
		return nil, err
	}
	h.fabric, err = fabric.New(fabric.Options{
		Dir: h.dir, PublicPrefix: c.PublicRange, PublicInterface: c.PublicInterface,
		Tunnel:   fabric.Tunnel{Addr: o.wire.addr, Mesh: o.wire.mesh != nil},
		Metadata: metadata, ConnContext: imds.NewServer(metadata).ConnContext,
		HostPorts: apiPort(c.Listen),
	})
	return h.fabric, err
}

// openSim opens simulated machines, which start again with the process, and a
// network that moves no packet.
func (h *host) openSim(o hostOptions) (fabric.Network, error) {
	if o.machines {
		d, err := sim.New(sim.Options{Name: h.name})
		if err != nil {
			return nil, err
		}
		h.driver = d
	}
	return netsim.New(), nil
}

// peerAddr returns where other hosts reach the front end's own one: nowhere, as
// long as it takes no other hosts.
func peerAddr(c Config) (netip.AddrPort, error) {
	if c.PeerListen == "" {
		return netip.AddrPort{}, nil
	}
	at, err := netip.ParseAddrPort(c.PeerListen)
	if err != nil || at.Addr().IsUnspecified() {
		return at, fmt.Errorf("--peer-listen %s: name this host's own address in the network of the hosts, for guests' packets are taken there too", c.PeerListen)
	}
	return at, nil
}

func (h *host) close() error {
	var errs []error
	if h.fabric != nil {
		errs = append(errs, h.fabric.Close())
	}
	if h.driver != nil {
		errs = append(errs, h.driver.Close())
	}
	return errors.Join(errs...)
}

// metadata is the handler of 169.254.169.254 in every router.
func (h *host) metadata() (http.Handler, error) {
	key, err := imds.LoadTokenKey(filepath.Join(h.dir, "metadata.key"))
	if err != nil {
		return nil, err
	}
	signer, err := imds.LoadSigner(filepath.Join(h.dir, "identity.pem"), time.Now())
	if err != nil {
		return nil, err
	}
	return imds.Handler(func(ctx context.Context, remote netip.Addr) (cloud.Metadata, bool) {
		return h.agent.Metadata(fabric.RouterID(ctx), remote)
	}, imds.Options{TokenKey: key, Signer: signer}), nil
}

// register tells the front end what this host has to give, once libvirtd says,
// and again from time to time: others may take from its disk, or make room.
func (h *host) register(ctx context.Context, c Config, zone string, at cloud.Net, f *frontend.FrontEnd) error {
	if c.PeerListen != "" { // others may be nodes of the zone whose head this is
		k := cloud.Cluster{Zone: zone, Head: h.name, Regime: c.Regime, Net: at, Version: Version, Seen: time.Now().UTC()}
		if err := f.AddCluster(ctx, k); err != nil {
			return err
		}
	}
	for said := false; ; {
		wait := retryMin
		has, err := h.driver.Host(ctx)
		if err == nil {
			n := h.row(c, zone, has)
			n.Version, n.Net = Version, at
			err = f.AddNode(ctx, n)
			if err == nil && !said {
				slog.Info("node is in service", "node", h.name, "kind", has.Kind, "cpus", n.CPUs, "memory_mib", n.MemoryMiB, "disk_gib", n.DiskGiB)
			}
		}
		if err == nil {
			said, wait = true, helloEvery
		} else {
			slog.Debug("what the host has is not known", "node", h.name, "err", err)
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// row is what the host can give to guests.
func (h *host) row(c Config, zone string, has hyper.Host) cloud.Node {
	n := cloud.Node{Name: h.name, Zone: zone, Arch: has.Arch, Kind: has.Kind, Seen: time.Now().UTC()}
	n.SetHost(capacity(has), c.overcommit())
	return n
}

// capacity is what of a host guests may have.
func capacity(has hyper.Host) cloud.Capacity {
	return cloud.Capacity{
		CPUs:      has.CPUs,
		MemoryMiB: has.MemoryMiB - has.MemoryMiB/hostMemoryFactor - hostMemoryMiB,
		DiskGiB:   has.DiskBytes / 100 * (100 - hostDiskPercent) >> 30,
	}
}

// nodeName returns the name this host has in the cloud: its host name at the
// first start. It is kept, for a host that is renamed is still the same node.
func nodeName(dir string) (string, error) {
	file := filepath.Join(dir, "name")
	b, err := os.ReadFile(file)
	if err == nil && strings.TrimSpace(string(b)) != "" {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name, err := os.Hostname()
	if err != nil {
		return "", err
	}
	return name, os.WriteFile(file, []byte(name+"\n"), 0o644)
}

// apiPort returns the port of the API, which guests may reach, if it listens
// where they could.
func apiPort(listen string) []uint16 {
	host, port, err := net.SplitHostPort(listen)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || net.ParseIP(host).IsLoopback() {
		return nil
	}
	return []uint16{uint16(n)}
}

// importTo returns an importer that keeps images in s.
func importTo(s *disk.Store) admin.Importer {
	return func(ctx context.Context, r io.Reader, size int64, kind string, progress func(step string, done, total int64)) (admin.Content, error) {
		c, err := s.Import(ctx, r, size, kind, progress)
		if errors.Is(err, disk.ErrBadImage) {
			return admin.Content{}, cloud.Faultf("InvalidParameterValue", "%s", err)
		}
		return admin.Content(c), err
	}
}

// Purge takes everything of eucad's off this host, guests and their disks
// first. No eucad may run in c.Dir meanwhile.
func Purge(ctx context.Context, c Config) error {
	lock, err := lockDir(c.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	d, err := libvirt.New(libvirt.Options{Dir: filepath.Join(c.Dir, "node"), Socket: c.Libvirt, LogDir: c.LibvirtLogs})
	if err != nil {
		return err
	}
	defer d.Close()
	all, err := d.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range all {
		errs = append(errs, d.Remove(ctx, m.ID))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	err = fabric.Remove(ctx, fabric.Options{Dir: filepath.Join(c.Dir, "node"), PublicPrefix: c.PublicRange, PublicInterface: c.PublicInterface})
	if err != nil {
		return err
	}
	return os.RemoveAll(c.Dir)
}
