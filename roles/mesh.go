package roles

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"eucad/net/mesh"
	"eucad/roles/plan"
	"eucad/store/cloud"
)

// meshPort is where a host's mesh listens (UDP).
const meshPort = 8777

// A wire is how guests' packets go from host to host: encrypted, by a mesh of
// the hosts, or as they are.
type wire struct {
	addr netip.Addr // of this host in it
	mesh *mesh.Mesh // nil: packets go as they are
	mode mesh.Mode
	key  mesh.Key
	me   string

	// The head of our zone may be known to other heads by an address that we
	// have no way to: we reach it where we joined it, or found it since.
	head string

	mu     sync.Mutex
	headAt netip.Addr
	hosts  plan.Hosts // as they were last told
}

// openWire brings the mesh up, when there is to be one, without any peer yet:
// simulated guests send no packets.
// at is this host's address in it.
func openWire(c Config, me string, at netip.Addr, underlay netip.Addr) (*wire, error) {
	w := &wire{addr: underlay, me: me}
	if c.Mesh == "off" || c.Hypervisor == "sim" || !at.IsValid() {
		return w, nil
	}
	var err error
	if w.key, err = meshKey(filepath.Join(c.Dir, "mesh.key")); err != nil {
		return nil, err
	}
	w.addr = at
	if w.mesh, err = mesh.New(slog.Default()); err != nil {
		return nil, err
	}
	return w, w.apply(nil)
}

// meshKey returns the key in the file name, made when there is none.
func meshKey(name string) (mesh.Key, error) {
	b, err := os.ReadFile(name)
	if err == nil {
		return mesh.ParseKey(strings.TrimSpace(string(b)))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return mesh.Key{}, err
	}
	k, err := mesh.NewKey()
	if err != nil {
		return k, err
	}
	return k, os.WriteFile(name, []byte(k.String()+"\n"), 0o600)
}

// net is what other hosts are told of how to reach this one, whose peer API is
// at addr.
func (w *wire) net(addr netip.AddrPort) cloud.Net {
	if !addr.IsValid() {
		return cloud.Net{}
	}
	n := cloud.Net{Addr: addr.String(), Tunnel: w.addr}
	if w.mesh != nil {
		n.Key, n.Endpoint = w.key.Public().String(), netip.AddrPortFrom(addr.Addr(), meshPort).String()
	}
	return n
}

// follow makes the mesh match who is in the cloud: a node speaks with the hosts
// of its zone, a head with the other heads too.
func (w *wire) follow(hosts plan.Hosts) {
	if w.mesh == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts = hosts
	zone, head := hosts.Hosts[w.me].Zone, hosts.IsHead(w.me)
	var peers []mesh.Peer
	for name, h := range hosts.Hosts {
		if name == w.me || h.Key == "" || !h.Tunnel.IsValid() || h.Zone != zone && !(head && hosts.IsHead(name)) {
			continue
		}
		key, err := mesh.ParseKey(h.Key)
		at, aerr := netip.ParseAddrPort(h.Endpoint)
		if err := errors.Join(err, aerr); err != nil {
			slog.Warn("a host cannot be reached by the mesh", "host", name, "err", err)
			continue
		}
		if name == w.head && w.headAt.IsValid() {
			at = netip.AddrPortFrom(w.headAt, at.Port())
		}
		peers = append(peers, mesh.Peer{PublicKey: key, Endpoint: at, Addrs: []netip.Prefix{netip.PrefixFrom(h.Tunnel, 32)}})
	}
	if err := w.apply(peers); err != nil {
		slog.Error("the mesh is not as planned", "err", err)
	}
}

// moveHead says where our zone's head is reached now.
func (w *wire) moveHead(at netip.Addr) {
	w.mu.Lock()
	same, hosts := w.headAt == at, w.hosts
	w.headAt = at
	w.mu.Unlock()
	if !same && hosts.Rev > 0 {
		w.follow(hosts)
	}
}

func (w *wire) apply(peers []mesh.Peer) error {
	err := w.mesh.Apply(context.Background(), mesh.Config{PrivateKey: w.key, ListenPort: meshPort, Addr: netip.PrefixFrom(w.addr, plan.MeshPrefix.Bits()), Peers: peers})
	if err != nil {
		return err
	}
	if mode := w.mesh.Mode(); mode != w.mode {
		w.mode = mode
		slog.Info("guests' packets between hosts are encrypted", "by", string(mode))
	}
	return nil
}

func (w *wire) close() error {
	if w == nil || w.mesh == nil {
		return nil
	}
	return w.mesh.Close()
}
