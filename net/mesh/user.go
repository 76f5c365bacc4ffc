package mesh

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// user is WireGuard in this process.
type user struct {
	dev  *wireguard.Device
	port uint16 // as set
}

// openUser makes a TUN device, to be served by set.
func openUser(mtu int, log *slog.Logger) (*user, error) {
	t, err := tun.CreateTUN(Device, mtu)
	if err != nil {
		return nil, fmt.Errorf("WireGuard in user space: %w", err)
	}
	return &user{dev: wireguard.NewDevice(newQuiet(t), conn.NewStdNetBind(), &wireguard.Logger{
		Verbosef: wireguard.DiscardLogf,
		Errorf:   func(format string, args ...any) { log.Warn("mesh device", "err", fmt.Errorf(format, args...)) },
	})}, nil
}

// quiet is a TUN device that tells of no events. When it came up, WireGuard
// would open its sockets in whatever namespace it is then in.
type quiet struct {
	tun.Device
	events chan tun.Event
}

func newQuiet(t tun.Device) quiet {
	q := quiet{t, make(chan tun.Event)}
	go func() { // until t is closed
		for range t.Events() {
		}
		close(q.events)
	}()
	return q
}

// Events implements tun.Device.
func (q quiet) Events() <-chan tun.Event { return q.events }

func (u *user) mode() Mode { return User }

// peers reads what the configuration protocol calls "get"
// (https://www.wireguard.com/xplatform/).
func (u *user) peers() ([]Peer, error) {
	text, err := u.dev.IpcGet()
	if err != nil {
		return nil, fmt.Errorf("WireGuard in user space: %w", err)
	}
	var out []Peer
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name == "public_key" {
			b, err := hex.DecodeString(value)
			if err != nil || len(b) != len(Key{}) {
				return nil, fmt.Errorf("WireGuard in user space: %q is no key", value)
			}
			out = append(out, Peer{PublicKey: Key(b)})
		}
		if len(out) == 0 {
			continue
		}
		p := &out[len(out)-1]
		switch name {
		case "endpoint":
			p.Endpoint, err = netip.ParseAddrPort(value)
		case "allowed_ip":
			var a netip.Prefix
			a, err = netip.ParsePrefix(value)
			p.Addrs = append(p.Addrs, a)
		}
		if err != nil {
			return nil, fmt.Errorf("WireGuard in user space: %w", err)
		}
	}
	return out, nil
}

func (u *user) set(c Config, gone []Key, changed []Peer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%x\n", c.PrivateKey[:])
	if c.ListenPort != u.port { // the same again would open new sockets
		fmt.Fprintf(&b, "listen_port=%d\n", c.ListenPort)
	}
	for _, k := range gone {
		fmt.Fprintf(&b, "public_key=%x\nremove=true\n", k[:])
	}
	for _, p := range changed {
		fmt.Fprintf(&b, "public_key=%x\n", p.PublicKey[:])
		if p.Endpoint.IsValid() {
			fmt.Fprintf(&b, "endpoint=%s\n", p.Endpoint)
		}
		b.WriteString("replace_allowed_ips=true\n")
		for _, a := range p.Addrs {
			fmt.Fprintf(&b, "allowed_ip=%s\n", a.Masked())
		}
	}
	if err := u.dev.IpcSet(b.String()); err != nil {
		return fmt.Errorf("WireGuard in user space: %w", err)
	}
	u.port = c.ListenPort
	if err := u.dev.Up(); err != nil {
		return fmt.Errorf("WireGuard in user space: %w", err)
	}
	return nil
}

// close ends the device.
func (u *user) close() error {
	u.dev.Close()
	<-u.dev.Wait()
	return nil
}
