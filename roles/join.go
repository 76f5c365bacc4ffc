package roles

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"

	"eucad/roles/peer"
	"eucad/roles/plan"
)

// join returns what this host is known by in its cloud: kept from an earlier
// start, or got for the token.
func join(ctx context.Context, c Config) (*peer.Credentials, error) {
	dir := filepath.Join(c.Dir, "peer")
	creds, err := peer.LoadCredentials(dir)
	if err == nil && !joinsAgain(c, creds) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return creds, err
	}
	if c.Token == "" || c.Join == "" {
		return nil, errors.New("this host has not joined a cloud yet: make a token on the front end (eucad token create --role node --zone ZONE), and start with --join HOST:PORT --token TOKEN")
	}
	name, err := nodeName(c.Dir)
	if err != nil {
		return nil, err
	}
	role := peer.Node
	if slices.Contains(c.Roles, "cluster") {
		role = peer.Cluster
	}
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		creds, err := peer.Join(ctx, peer.JoinOptions{Token: c.Token, Address: c.Join, Name: name, Role: role, Zone: c.Zone, Dir: dir, Version: Version})
		if err == nil || peer.ErrorCode(err) != "" || ctx.Err() != nil {
			return creds, err
		}
		slog.Warn("cannot join yet", "front_end", c.Join, "err", err)
		if !pause(ctx, wait) {
			return nil, ctx.Err()
		}
	}
}

// joinsAgain reports whether a host that has joined brings another token: its
// zone has another head, or it goes over to another zone or cloud.
func joinsAgain(c Config, creds *peer.Credentials) bool {
	t, err := peer.ParseToken(c.Token)
	return err == nil && c.Join != "" && creds.Token() != "" && t.ID != creds.Token()
}

// advertised returns where other hosts reach this one: the address it has
// towards the host it joined, unless it listens on another one.
func advertised(c Config, toward string, known plan.Hosts) (netip.AddrPort, error) {
	listen, err := netip.ParseAddrPort(c.PeerListen)
	if err != nil {
		return listen, fmt.Errorf("--peer-listen %s is no address such as 0.0.0.0:8774", c.PeerListen)
	}
	if !listen.Addr().IsUnspecified() {
		return listen, nil
	}
	own, err := peer.AddrToward(toward)
	for _, h := range known.Hosts { // this host may be in another network than it was
		if err == nil {
			break
		}
		if a, aerr := peer.AddrToward(h.Addr); aerr == nil {
			own, err = a, nil
		}
	}
	return netip.AddrPortFrom(own, listen.Port()), err
}
