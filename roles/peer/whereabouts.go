package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// A whereabouts is where a Client reaches its peer. While the address that it
// has does not answer, or another host does, it goes through those that gossip
// knows: whoever answers has to prove by its certificate that it is the peer.
type whereabouts struct {
	peer  Identity
	told  string                         // what the client was made with
	find  func(Identity) []string        // nil: nobody knows more
	moved func(id Identity, addr string) // nil: nobody asks

	mu   sync.Mutex
	addr string // to try now
	good string // where the peer last answered
}

func (w *whereabouts) now() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addr
}

// answered notes that the peer is at addr.
func (w *whereabouts) answered(addr string) {
	w.mu.Lock()
	news := w.good != addr
	w.good, w.addr = addr, addr
	w.mu.Unlock()
	if news && addr != w.told {
		slog.Info("a host is found at another address", "host", w.peer.String(), "address", addr)
	}
	if news && w.moved != nil {
		w.moved(w.peer, addr)
	}
}

// failed notes that the peer did not answer at addr.
func (w *whereabouts) failed(addr string, err error) {
	if w.find == nil || errors.Is(err, context.Canceled) { // whoever asked does not want to know any more
		return
	}
	more := w.find(w.peer)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.addr != addr { // another call was quicker
		return
	}
	all := []string{}
	for _, a := range append([]string{w.good, w.told}, more...) {
		if a != "" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	w.addr = all[(slices.Index(all, addr)+1)%len(all)]
}

// AddrToward returns the address that this host has towards another one.
func AddrToward(addr string) (netip.Addr, error) {
	conn, err := net.Dial("udp", addr) // sends nothing
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the address towards %s: %w", addr, err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}
