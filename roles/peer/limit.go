package peer

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// A stranger may ask openBurst times at once, and then each openEvery:
	// a rack behind one address may join together, and guessing is hopeless anyway.
	openBurst = 32
	openEvery = time.Second

	// maxStrangers is how many addresses are remembered.
	maxStrangers = 4096
)

// A limiter bounds what each address may ask for.
type limiter struct {
	mu   sync.Mutex
	full map[netip.Addr]time.Time // when the address may ask openBurst times again
}

// allow counts a request from the address.
func (l *limiter) allow(remote string, now time.Time) bool {
	ap, _ := netip.ParseAddrPort(remote)
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() { // a host has all of its /64
		p, _ := addr.Prefix(64)
		addr = p.Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.full[addr]
	if full.Before(now) {
		full = now
	}
	if full = full.Add(openEvery); full.Sub(now) > openBurst*openEvery {
		return false
	}
	if l.full == nil {
		l.full = map[netip.Addr]time.Time{}
	}
	if len(l.full) >= maxStrangers {
		for a, t := range l.full {
			if t.Before(now) {
				delete(l.full, a)
			}
		}
	}
	if _, known := l.full[addr]; !known && len(l.full) >= maxStrangers {
		return false
	}
	l.full[addr] = full
	return true
}
