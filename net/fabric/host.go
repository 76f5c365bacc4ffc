package fabric

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"

	"eucad/net/dns"
	"eucad/net/link"
	"eucad/net/nft"
)

const (
	ethernetMTU = 1500
	nsPrefix    = "eucad-"    // of the names of routers' namespaces
	vethPrefix  = "euv"       // of the host's ends of the links to routers
	uplink      = "up0"       // a router's end
	tapNote     = "eucad "    // alias of taps that wait in the host's namespace: this and the port's id
	vethMTU     = 9001        // EC2's largest; guests' own MTU decides
	tunnelRoom  = 50          // bytes that VXLAN takes of each packet; see Options.MTU
	freshTime   = time.Minute // for which a tap is left to who opened the port
)

// A Fabric is the network of this Linux host. It needs root.
//
// A router is the namespace "eucad-" + id with the device up0 towards the host,
// the taps of its guests and, when it reaches other hosts, the VXLAN device vx0.
// The host's end of that link is "euv" + part of
// the id; a /31 of Options.Transit lies between. The host forwards: New sets
// net.ipv4.ip_forward, and the nftables table inet eucad of the host closes the
// host's own services to guests and translates what leaves it.
//
// All state is in the kernel. A new Fabric finds what is there and goes on
// with it; no packet of a guest is lost by that.
type Fabric struct {
	opt     Options
	prefix  string // of the names of routers' namespaces
	host    *link.NS
	links   *link.Conn // in the host's namespace
	table   *nft.Table // the host's
	outside outside
	resolve dns.Resolver // of what VPCs don't know

	tunnelMTU  int    // of routers' tunnel devices
	tunnelOver string // the host's device that carries them

	mu      sync.Mutex
	routers map[string]*router
	byPort  map[string]*router  // by port id, of the last Config
	waiting map[string]waiting  // taps in the host's namespace, by port id
	transit map[netip.Addr]bool // host's ends of links in use
	closed  bool
}

// A waiting tap is one that a machine may open.
type waiting struct {
	tap   string
	since time.Time // of OpenPort; zero when Apply should plug it once it is open
}

var _ Network = (*Fabric)(nil)

// New returns a Fabric that has taken over what is there of an earlier one.
func New(o Options) (*Fabric, error) { return newFabric(o, nsPrefix) }

// newFabric is New with another prefix for the names of namespaces, which
// hosts of one file system need.
func newFabric(o Options, prefix string) (*Fabric, error) {
	host, err := link.Here()
	if err != nil {
		return nil, fmt.Errorf("host network: %w", err)
	}
	f := &Fabric{opt: o, prefix: prefix, host: host, resolve: dns.HostResolver(), routers: map[string]*router{}, byPort: map[string]*router{}, waiting: map[string]waiting{}, transit: map[netip.Addr]bool{}}
	if err := f.opt.complete(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("host network: %w", err), f.Close())
	}
	return f, nil
}

// complete fills in what was left to us.
func (o *Options) complete() error {
	if !o.Transit.IsValid() {
		o.Transit = Transit
	}
	if !o.Transit.Addr().Is4() || o.Transit.Bits() > 30 {
		return fmt.Errorf("transit prefix %s: needs IPv4 and room for links of two addresses", o.Transit)
	}
	if err := o.checkPublic(o.PublicPrefix); err != nil {
		return err
	}
	if a := o.Tunnel.Addr; a.IsValid() && !a.Is4() {
		return fmt.Errorf("tunnel address %s: needs IPv4", a)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return nil
}

func (o *Options) checkPublic(p netip.Prefix) error {
	if p.IsValid() && p.Overlaps(o.Transit) {
		return fmt.Errorf("public prefix %s overlaps the transit prefix %s", p, o.Transit)
	}
	return nil
}

func (f *Fabric) open() (err error) {
	if f.links, err = f.host.Dial(); err != nil {
		return err
	}
	if f.table, err = nft.Open(f.host.FD(), nftables.TableFamilyINet); err != nil {
		return err
	}
	if err := f.openTunnel(); err != nil {
		return err
	}
	if err := f.host.Sysctl(map[string]string{"ipv4.ip_forward": "1"}); err != nil {
		return err
	}
	if err := f.outside.open(f.host, f.links, f.opt); err != nil {
		return err
	}
	devices, err := f.links.Devices()
	if err != nil {
		return err
	}
	for _, d := range devices {
		if id, ok := strings.CutPrefix(d.Alias, tapNote); ok {
			f.waiting[id] = waiting{tap: d.Name}
		}
	}
	names, err := link.ListNS(f.prefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		r, err := f.adopt(strings.TrimPrefix(name, f.prefix))
		if err != nil {
			return fmt.Errorf("take over router %s: %w", name, err)
		}
		f.routers[r.id] = r
	}
	return f.filter() // which must know the tunnels of these
}

// openTunnel looks at the network between hosts.
func (f *Fabric) openTunnel() error {
	room := ethernetMTU - tunnelRoom
	if a := f.opt.Tunnel.Addr; a.IsValid() {
		d, ok, err := f.links.DeviceWith(a)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("no device has the tunnel address %s", a)
		}
		f.tunnelOver = d.Name
		if d.Index != loopback { // an address there is reached by routing, and any device
			room = min(d.MTU, vethMTU) - tunnelRoom
		}
	}
	if f.opt.MTU == 0 {
		f.opt.MTU = room
	}
	f.tunnelMTU = min(room, f.opt.MTU)
	return nil
}

// filter puts the host's own filters in place.
func (f *Fabric) filter() error {
	h := nft.Host{
		Devices: vethPrefix + "*", Transit: f.opt.Transit, Public: f.outside.public,
		Open: f.opt.PublicInterface != "", Ports: f.opt.HostPorts,
		Tunnel: f.opt.Tunnel.Addr.IsValid(), Peers: f.peers(),
	}
	if f.opt.Tunnel.Mesh {
		h.Mesh = f.tunnelOver
	}
	return f.table.Apply(nft.CompileHost(h))
}

// adopt returns the router of a namespace that is there.
func (f *Fabric) adopt(id string) (*router, error) {
	ns, err := link.OpenNS(f.prefix + id)
	if err != nil {
		// A name that nothing is mounted on is what a host's restart leaves.
		return &router{id: id, f: f}, nil
	}
	r, err := f.newRouter(id, ns)
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	if err := r.findTunnel(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	d, ok, err := f.links.Device(vethName(id))
	if err != nil || !ok {
		return r, err
	}
	addrs, err := f.links.Addresses(d.Index)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if f.opt.Transit.Contains(a.Addr()) && a.Bits() == 31 {
			r.outer = a.Addr()
			f.transit[r.outer] = true
		}
	}
	return r, nil
}

// Apply makes the network match c; see Network.
func (f *Fabric) Apply(ctx context.Context, c Config) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	var errs []error
	want := make(map[string]bool, len(c.Routers))
	for _, cfg := range c.Routers {
		want[cfg.ID] = true
	}
	for id, r := range f.routers {
		if !want[id] {
			if err := f.remove(r); err != nil {
				errs = append(errs, &RouterError{id, err})
			}
		}
	}
	if err := f.setPublic(c.Public); err != nil {
		errs = append(errs, err)
	}
	for _, cfg := range c.Routers {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		if err := f.applyRouter(cfg); err != nil {
			errs = append(errs, &RouterError{cfg.ID, err})
		}
	}
	ports := map[string]*router{}
	for _, r := range f.routers {
		for id := range r.ports {
			ports[id] = r
		}
	}
	f.byPort = ports
	errs = append(errs, f.filter(), f.outside.apply(f.routers), f.sweep())
	return errors.Join(errs...)
}

// setPublic takes where public addresses are from now on.
func (f *Fabric) setPublic(p netip.Prefix) error {
	if !p.IsValid() {
		p = f.opt.PublicPrefix
	}
	if err := f.opt.checkPublic(p); err != nil {
		return err
	}
	f.outside.public = p
	return nil
}

func (f *Fabric) applyRouter(cfg Router) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	r, err := f.router(cfg.ID)
	if err != nil {
		return err
	}
	return r.apply(cfg)
}

// sweep removes taps that wait for ports which are no longer wanted.
func (f *Fabric) sweep() error {
	var errs []error
	for id, w := range f.waiting {
		if f.byPort[id] == nil {
			errs = append(errs, f.links.Delete(w.tap))
			delete(f.waiting, id)
		}
	}
	return errors.Join(errs...)
}

// router returns the router, made when it is not there.
func (f *Fabric) router(id string) (*router, error) {
	r := f.routers[id]
	if r == nil || r.ns == nil {
		ns, err := link.MakeNS(f.prefix + id)
		if err != nil {
			return nil, err
		}
		if r, err = f.newRouter(id, ns); err != nil {
			return nil, errors.Join(err, ns.Close())
		}
		f.routers[id] = r
	}
	return r, nil
}

// remove takes away everything of a router.
func (f *Fabric) remove(r *router) error {
	if r.ns != nil { // its VNI is free at once; the namespace goes when the kernel gets to it
		if err := r.links.Delete(tunnelDevice); err != nil {
			return fmt.Errorf("remove router %s: %w", r.id, err)
		}
	}
	err := errors.Join(r.close(), f.links.Delete(vethName(r.id)), link.DeleteNS(f.prefix+r.id))
	if err != nil {
		return fmt.Errorf("remove router %s: %w", r.id, err)
	}
	delete(f.transit, r.outer)
	delete(f.routers, r.id)
	f.opt.Log.Debug("router removed", "router", r.id)
	return nil
}

// freeLink returns the addresses of a link that no router has: the host's, which is
// even, and the router's (RFC 3021).
func (f *Fabric) freeLink() (netip.Addr, error) {
	for a := f.opt.Transit.Masked().Addr(); a != f.behind(); a = a.Next().Next() {
		if !f.transit[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the transit prefix %s has no room for another router", f.opt.Transit)
}

// behind is the host's address of the last link, which is never made: what a
// gateway gives packets as source has to be no link's on any host.
func (f *Fabric) behind() netip.Addr {
	a := f.opt.Transit.Masked().Addr().As4()
	last := binary.BigEndian.Uint32(a[:]) | ^uint32(0)>>f.opt.Transit.Bits()
	binary.BigEndian.PutUint32(a[:], last&^1)
	return netip.AddrFrom4(a)
}

var errClosed = fmt.Errorf("the network is closed: %w", fs.ErrClosed)

// Close stops what answers guests, and leaves routers and traffic; see Network.
func (f *Fabric) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	var errs []error
	for _, r := range f.routers {
		errs = append(errs, r.close())
	}
	if f.table != nil {
		errs = append(errs, f.table.Close())
	}
	if f.links != nil {
		errs = append(errs, f.links.Close())
	}
	if f.host != nil {
		errs = append(errs, f.host.Close())
	}
	return errors.Join(errs...)
}

// Remove takes away all that Fabrics made of this host, its nftables table
// too. Guests lose their network. net.ipv4.ip_forward stays as it is, for others
// may have come to need it.
func Remove(ctx context.Context, o Options) error {
	f, err := New(o)
	if err != nil {
		return err
	}
	return errors.Join(f.Apply(ctx, Config{}), f.table.Delete(), f.Close())
}

func vethName(id string) string { return vethPrefix + short(id) }

// short returns as much of an id as a device's name has room for.
func short(id string) string {
	if len(id) > 15 {
		return id[4:15]
	}
	return id[max(0, len(id)-12):]
}
