// Package mesh joins hosts over WireGuard: what they send each other by the
// addresses of the mesh is encrypted, and comes from the host it says.
//
// The kernel does it where it has WireGuard. It goes on when eucad ends, and a
// new eucad finds it. Where the kernel has none, this process does it itself, on
// a TUN device, which ends with it: traffic between hosts pauses until eucad is
// back and the hosts have greeted each other anew, for a second or so. Traffic
// within a host does not. It is also a good deal slower: every packet visits the
// process on both hosts.
//
// WireGuard takes 60 bytes of each packet over IPv4 and 80 over IPv6: the IP
// header, 8 for UDP, and 32 for type, receiver, counter and tag (WireGuard: Next
// Generation Kernel Network Tunnel, section 5.4.6). As wg-quick(8) does, the
// mesh leaves room for the larger, so that its MTU stays when a host gets an
// IPv6 endpoint: 1420 on Ethernet. VXLAN over it takes 50 more; 1370 are left
// for guests.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"eucad/net/link"
)

// Device is the name of a host's device of the mesh.
const Device = "eucad0"

const (
	ethernetMTU = 1500
	overhead    = 80 // bytes of each packet; see above
)

// Config is all that this host's part of the mesh must be.
type Config struct {
	PrivateKey Key
	ListenPort uint16       // UDP
	Addr       netip.Prefix // this host's IPv4 address, and the length of the mesh's prefix
	Peers      []Peer
	Underlay   int `json:",omitempty"` // MTU of the network between hosts; default 1500
}

// A Peer is another host.
type Peer struct {
	PublicKey Key
	Endpoint  netip.AddrPort // where it listens; zero when it is to call first
	Addrs     []netip.Prefix // that are there: no two peers have the same
}

// A Mode is who does the work.
type Mode string

// Modes of a Mesh.
const (
	None   Mode = ""           // nothing was applied yet
	Kernel Mode = "kernel"     // goes on when this process ends
	User   Mode = "user space" // ends with this process
)

// A Mesh is this host's part of the mesh. It needs root. Its methods may be
// called at once.
type Mesh struct {
	log   *slog.Logger
	host  *link.NS
	links *link.Conn

	mu     sync.Mutex
	user   bool // even if the kernel could
	device device
	have   *Config // as applied; nil when it isn't known
	closed bool
}

// A device does the work. Peers are by public key; each call is for all of one.
type device interface {
	mode() Mode
	peers() ([]Peer, error)
	// set removes and changes peers. What is the same already stays undisturbed.
	set(c Config, gone []Key, changed []Peer) error
	close() error
}

// New returns the mesh of this host. It changes nothing yet.
func New(log *slog.Logger) (*Mesh, error) {
	host, err := link.Here()
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	links, err := host.Dial()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mesh: %w", err), host.Close())
	}
	return &Mesh{log: log, host: host, links: links}, nil
}

// Check reports all that makes c impossible.
func (c *Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.PrivateKey == (Key{}) {
		bad("there is no private key")
	}
	if !c.Addr.Addr().Is4() {
		bad("%s is no IPv4 address with a prefix's length", c.Addr)
	}
	if c.Underlay != 0 && c.Underlay < 576+overhead {
		bad("an MTU of %d between hosts is too small", c.Underlay)
	}
	keys, addrs := map[Key]bool{}, map[netip.Prefix]Key{}
	for _, p := range c.Peers {
		if p.PublicKey == (Key{}) || keys[p.PublicKey] {
			bad("peer %s: there is no public key, or it is another's", p.PublicKey)
		}
		keys[p.PublicKey] = true
		for _, a := range p.Addrs {
			if other, ok := addrs[a.Masked()]; ok {
				bad("peer %s: %s is at %s", p.PublicKey, a, other)
			}
			addrs[a.Masked()] = p.PublicKey
			if !a.Addr().Is4() || a.Bits() == 0 {
				bad("peer %s: %s is no IPv4 prefix", p.PublicKey, a)
			}
		}
	}
	return errors.Join(errs...)
}

// Apply makes the mesh match c: peers that are not in it go, and those that
// stay as they are notice nothing. Applying the same again does nothing.
func (m *Mesh) Apply(ctx context.Context, c Config) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("the mesh is closed: %w", fs.ErrClosed)
	}
	if err := errors.Join(ctx.Err(), c.Check()); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	// Sockets belong to the namespace of the thread that opens them.
	if err := m.host.Do(func() error { return m.apply(c) }); err != nil {
		m.have = nil
		return fmt.Errorf("mesh: %w", err)
	}
	return nil
}

func (m *Mesh) apply(c Config) error {
	if c.Underlay == 0 {
		c.Underlay = ethernetMTU
	}
	if m.device == nil {
		d, err := m.open(c.Underlay - overhead)
		if err != nil {
			return err
		}
		m.device, m.have = d, nil
		m.log.Info("mesh opened", "mode", string(d.mode()))
	}
	var have []Peer
	if m.have != nil {
		have = m.have.Peers
	} else {
		var err error
		if have, err = m.device.peers(); err != nil {
			return err
		}
	}
	gone, changed := differences(have, c.Peers)
	if m.have == nil || len(gone)+len(changed) > 0 || m.have.PrivateKey != c.PrivateKey || m.have.ListenPort != c.ListenPort {
		if err := m.device.set(c, gone, changed); err != nil {
			return err
		}
	}
	if err := m.route(c); err != nil {
		return err
	}
	c.Peers = slices.Clone(c.Peers)
	m.have = &c
	return nil
}

// differences returns what makes one list of peers another.
func differences(have, want []Peer) (gone []Key, changed []Peer) {
	old := make(map[Key]*Peer, len(have))
	for i := range have {
		old[have[i].PublicKey] = &have[i]
	}
	for _, p := range want {
		o := old[p.PublicKey]
		delete(old, p.PublicKey)
		if o == nil || o.Endpoint != p.Endpoint && p.Endpoint.IsValid() || !sameAddrs(o.Addrs, p.Addrs) {
			changed = append(changed, p)
		}
	}
	for k := range old {
		gone = append(gone, k)
	}
	return gone, changed
}

func sameAddrs(a, b []netip.Prefix) bool {
	sorted := func(all []netip.Prefix) []netip.Prefix {
		out := make([]netip.Prefix, len(all))
		for i, p := range all {
			out[i] = p.Masked()
		}
		slices.SortFunc(out, netip.Prefix.Compare)
		return out
	}
	return slices.Equal(sorted(a), sorted(b))
}

// open returns the device: the kernel's when there is one or can be.
func (m *Mesh) open(mtu int) (device, error) {
	d, ok, err := m.links.Device(Device)
	if err != nil {
		return nil, err
	}
	switch {
	case ok && d.Kind != "wireguard":
		return nil, fmt.Errorf("device %s is there and is not WireGuard's: another eucad's, or a stranger", Device)
	case !ok && !m.user:
		if ok, err = m.links.Wireguard(Device); err != nil {
			return nil, err
		}
	}
	if ok {
		return openKernel()
	}
	return openUser(mtu, m.log)
}

// route gives the device its address and MTU, and routes to what lies beyond
// the mesh's prefix.
func (m *Mesh) route(c Config) error {
	d, ok, err := m.links.Device(Device)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("device %s vanished", Device))
	}
	addrs, err := m.links.Addresses(d.Index)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a != c.Addr {
			if err := m.links.DeleteAddress(d.Index, a); err != nil {
				return err
			}
		}
	}
	if !slices.Contains(addrs, c.Addr) {
		if err := m.links.AddAddress(d.Index, c.Addr); err != nil {
			return err
		}
	}
	if mtu := c.Underlay - overhead; !d.Up || d.MTU != mtu {
		if err := m.links.Up(d.Index, mtu); err != nil {
			return err
		}
	}
	have, err := m.links.Routes(d.Index)
	if err != nil {
		return err
	}
	b := m.links.Batch()
	for _, p := range c.Peers {
		for _, a := range p.Addrs {
			if a = a.Masked(); a.Bits() >= c.Addr.Bits() && c.Addr.Contains(a.Addr()) {
				continue // the address's own route leads there
			}
			if i := slices.Index(have, a); i >= 0 {
				have = slices.Delete(have, i, i+1)
				continue
			}
			b.PutRoute(link.Route{Dest: a, Device: d.Index})
		}
	}
	for _, a := range have {
		b.DeleteRoute(link.Route{Dest: a, Device: d.Index})
	}
	return b.Run()
}

// Mode returns who does the work.
func (m *Mesh) Mode() Mode {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.device == nil {
		return None
	}
	return m.device.mode()
}

// Close ends a mesh in user space, and leaves one of the kernel as it is.
func (m *Mesh) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	var err error
	if m.device != nil {
		err = m.device.close()
	}
	return errors.Join(err, m.links.Close(), m.host.Close())
}

// Remove takes the mesh's device from this host.
func Remove() error {
	host, err := link.Here()
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	defer host.Close()
	links, err := host.Dial()
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	return errors.Join(links.Delete(Device), links.Close())
}
