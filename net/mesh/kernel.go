package mesh

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// kernel is the kernel's WireGuard.
type kernel struct {
	ctl *wgctrl.Client
}

// openKernel returns the device, which is there.
func openKernel() (*kernel, error) {
	c, err := wgctrl.New()
	if err != nil {
		return nil, fmt.Errorf("WireGuard of the kernel: %w", err)
	}
	return &kernel{c}, nil
}

func (k *kernel) mode() Mode { return Kernel }

func (k *kernel) peers() ([]Peer, error) {
	d, err := k.ctl.Device(Device)
	if err != nil {
		return nil, fmt.Errorf("WireGuard of the kernel: %w", err)
	}
	var out []Peer
	for _, p := range d.Peers {
		q := Peer{PublicKey: Key(p.PublicKey)}
		if p.Endpoint != nil {
			at := p.Endpoint.AddrPort()
			q.Endpoint = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		}
		for _, n := range p.AllowedIPs {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				bits, _ := n.Mask.Size()
				q.Addrs = append(q.Addrs, netip.PrefixFrom(a.Unmap(), bits))
			}
		}
		out = append(out, q)
	}
	return out, nil
}

func (k *kernel) set(c Config, gone []Key, changed []Peer) error {
	key, port := wgtypes.Key(c.PrivateKey), int(c.ListenPort)
	w := wgtypes.Config{PrivateKey: &key, ListenPort: &port}
	for _, g := range gone {
		w.Peers = append(w.Peers, wgtypes.PeerConfig{PublicKey: wgtypes.Key(g), Remove: true, UpdateOnly: true})
	}
	for _, p := range changed {
		q := wgtypes.PeerConfig{PublicKey: wgtypes.Key(p.PublicKey), ReplaceAllowedIPs: true}
		if p.Endpoint.IsValid() {
			q.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
		}
		for _, a := range p.Addrs {
			a = a.Masked()
			q.AllowedIPs = append(q.AllowedIPs, net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())})
		}
		w.Peers = append(w.Peers, q)
	}
	if err := k.ctl.ConfigureDevice(Device, w); err != nil {
		return fmt.Errorf("WireGuard of the kernel: %w", err)
	}
	return nil
}

func (k *kernel) close() error {
	if err := k.ctl.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("WireGuard of the kernel: %w", err)
	}
	return nil
}
