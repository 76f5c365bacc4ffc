package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A change is one message to the kernel. Doing it twice does no harm.
type change struct {
	what    string
	message rtnetlink.Message
	kind    uint16
	flags   netlink.HeaderFlags
	none    []error // that say there is nothing to do
}

// change makes one change.
func (c *Conn) change(ch change) error {
	_, err := c.rt.Execute(ch.message, ch.kind, ch.flags|netlink.Request|netlink.Acknowledge)
	if err == nil || slices.ContainsFunc(ch.none, func(e error) bool { return errors.Is(err, e) }) {
		return nil
	}
	return fmt.Errorf("%s: %w", ch.what, err)
}

// A Batch gathers changes, and makes them in order with few calls.
type Batch struct {
	c   *Conn
	all []change
}

// Batch returns an empty batch.
func (c *Conn) Batch() *Batch { return &Batch{c: c} }

func (b *Batch) add(c change) { b.all = append(b.all, c) }

// PutRoute is that of Conn.
func (b *Batch) PutRoute(r Route) { b.add(putRoute(r)) }

// DeleteRoute is that of Conn.
func (b *Batch) DeleteRoute(r Route) { b.add(deleteRoute(r)) }

// PutEnd makes a host an end of the VXLAN device: what is routed by the address
// via goes there, in frames to the MAC.
func (b *Batch) PutEnd(index uint32, host, via netip.Addr, mac net.HardwareAddr) {
	b.add(putForward(index, mac, host))
	b.add(putNeighbour(index, via, mac)) // after the other: who finds this one need not look for that
}

// DeleteEnd ends what PutEnd began.
func (b *Batch) DeleteEnd(index uint32, host, via netip.Addr, mac net.HardwareAddr) {
	b.add(deleteNeighbour(index, via))
	b.add(deleteForward(index, mac, host))
}

const (
	fewChanges = 8   // below that, opening a socket takes longer
	maxChanges = 256 // in one call: some 100 bytes each, of the 208 KiB that a socket sends at once by default
)

// Run makes the changes. It makes all it can and returns all that failed.
func (b *Batch) Run() error {
	if len(b.all) < fewChanges {
		return b.c.each(b.all)
	}
	nl, err := b.c.open()
	if err != nil {
		return err
	}
	defer func() { nl.Close() }()
	var errs []error
	for part := range slices.Chunk(b.all, maxChanges) {
		if send(nl, part) == nil {
			continue
		}
		// One by one, to learn which failed; what came of them is still in the socket.
		nl.Close()
		errs = append(errs, b.c.each(part))
		if nl, err = b.c.open(); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	return errors.Join(errs...)
}

func (c *Conn) open() (*netlink.Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: c.ns.FD()})
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return nl, nil
}

func (c *Conn) each(all []change) error {
	var errs []error
	for _, ch := range all {
		errs = append(errs, c.change(ch))
	}
	return errors.Join(errs...)
}

// send makes changes at once. Only the last is acknowledged when all is well.
func send(nl *netlink.Conn, all []change) error {
	out := make([]netlink.Message, len(all))
	for i, ch := range all {
		data, err := ch.message.MarshalBinary()
		if err != nil {
			return err
		}
		out[i] = netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(ch.kind), Flags: ch.flags | netlink.Request}, Data: data}
	}
	out[len(out)-1].Header.Flags |= netlink.Acknowledge
	if _, err := nl.SendMessages(out); err != nil {
		return err
	}
	_, err := nl.Receive()
	return err
}
