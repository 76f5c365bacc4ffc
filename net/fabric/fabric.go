package fabric

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
)

// A Network makes the network of one host. Implementations: Fabric (Linux),
// sim.Network. Methods are idempotent and may be called at once.
type Network interface {
	// Apply makes the network match c: routers, ports, filters, names. It
	// does all it can and returns all that failed, joined; what failed of one
	// router alone is a RouterError. Cost follows what
	// changed since the last Apply. A port's filters are in place before its
	// tap can pass a packet.
	Apply(ctx context.Context, c Config) error

	// OpenPort makes a fresh tap for p wait in the host's own namespace, so
	// that a machine can open it. It is called before the machine starts.
	OpenPort(ctx context.Context, p Port) error

	// Plug moves the tap of port id, which a machine now has open, into its
	// router and lets traffic through. Apply does the same for ports it finds open.
	Plug(ctx context.Context, id string) error

	// Stats returns the traffic counters of the port as its guest sees them.
	Stats(ctx context.Context, id string) (Stats, error)

	// Close stops answering DHCP, DNS and metadata, and leaves routers and
	// traffic as they are: restarting eucad must not disturb a guest.
	Close() error
}

// A RouterError is what failed of one router. The others are not affected.
type RouterError struct {
	Router string // its id
	Err    error
}

func (e *RouterError) Error() string { return "router " + e.Router + ": " + e.Err.Error() }
func (e *RouterError) Unwrap() error { return e.Err }

// Concerns returns what of an error of Apply's stands in the way of a router:
// nil when all of it is about others.
func Concerns(err error, router string) error {
	switch e := err.(type) {
	case *RouterError:
		if e.Router != router {
			return nil
		}
	case interface{ Unwrap() []error }:
		var errs []error
		for _, err := range e.Unwrap() {
			errs = append(errs, Concerns(err, router))
		}
		return errors.Join(errs...)
	}
	return err
}

// Stats are counters since the tap was made, from the guest's point of view.
type Stats struct {
	RxBytes, RxPackets, TxBytes, TxPackets uint64
}

// Transit is the default of Options.Transit, of RFC 6598's shared space.
var Transit = netip.MustParsePrefix("100.127.0.0/16")

// Options say how a Fabric meets the host's network. The zero value works.
type Options struct {
	Dir string // where leases of the fabric's own state are kept

	// PublicPrefix holds the public addresses. When PublicInterface is "" they
	// are host-only: the host reaches them, nobody else does.
	PublicPrefix    netip.Prefix
	PublicInterface string // device whose network PublicPrefix belongs to; ARP for ports' public addresses is answered there

	// Transit is cut into small links between the host and each router;
	// default Transit. It must be the same on
	// all hosts: a gateway's packets come from its last link, which no host makes.
	Transit netip.Prefix

	// Tunnel joins routers with those of other hosts.
	Tunnel Tunnel

	// Metadata serves 169.254.169.254:80 in each router. Requests carry the
	// router's id (RouterID) in their context, and the guest's address in RemoteAddr.
	Metadata http.Handler

	// ConnContext, when not nil, is the http.Server.ConnContext of metadata
	// connections: a handler may set the hop limit of what it answers.
	ConnContext func(ctx context.Context, c net.Conn) context.Context

	// HostPorts are the TCP ports of the host's own that guests may reach, such
	// as the API's. All others are closed to them.
	HostPorts []uint16

	// Resolver answers what the VPC's own names do not; nil asks the host's resolvers.
	Resolver func(ctx context.Context, query []byte) ([]byte, error)

	// MTU of guests' interfaces. The default leaves room for the 50 bytes of
	// VXLAN over IPv4 (RFC 7348, section 5: an inner Ethernet header of 14, VXLAN's
	// 8, UDP's 8, IPv4's 20) in the MTU of the device that has Tunnel.Addr, which
	// for a mesh is less what WireGuard takes (see package mesh): 1450 on plain
	// Ethernet, 1370 on a mesh over it. Without a tunnel it is 1450.
	MTU int

	// Log is told what nobody waits for; default slog.Default().
	Log *slog.Logger
}

// A Tunnel says how other hosts' routers are reached: by VXLAN, on UDP port
// 4789, which this host then accepts from the hosts of Remotes and Exits only.
type Tunnel struct {
	// Addr is this host's IPv4 address in the network between hosts, on a device
	// that is there: other hosts' Remote.Host and Exit. Zero: there is no tunnel.
	Addr netip.Addr

	// Mesh tells that Addr's device is the hosts' alone: VXLAN is accepted by no
	// other, and guests reach nothing by it.
	Mesh bool
}

type routerKey struct{}

// WithRouterID returns ctx carrying the router a metadata request came through.
func WithRouterID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, routerKey{}, id)
}

// RouterID returns the router a metadata request came through, or "".
func RouterID(ctx context.Context) string {
	id, _ := ctx.Value(routerKey{}).(string)
	return id
}

// ListenIn is how servers of ours open sockets inside a router.
type ListenIn func(router, network, address string) (net.Listener, error)
