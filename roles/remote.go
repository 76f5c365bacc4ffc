package roles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/api/admin"
	"eucad/hyper/disk"
	"eucad/net/link"
	"eucad/roles/cluster"
	"eucad/roles/frontend"
	"eucad/roles/node"
	"eucad/roles/peer"
	"eucad/roles/plan"
)

const (
	leaseEvery = 3 * time.Second // between signs of life
	helloEvery = time.Minute     // after which a host says again what it has: its disk fills and empties
	retryMin   = time.Second     // between tries to reach the front end
	retryMax   = 30 * time.Second
)

// keepFile keeps the plan, in a host's directory "node".
const keepFile = "plan.json"

// A remote is a host of a cloud whose front end is another one.
type remote struct {
	c    Config
	host host
	*uplink
	zone  *cluster.Head  // nil: this host is no zone's head
	own   netip.Prefix   // public addresses of that zone's own; the zero Prefix: it has the cloud's
	peers netip.AddrPort // where other hosts reach us
	wire  *wire
	cache *disk.Cache

	headAt     string       // of holdLease alone: where the zone's head is reached,
	headClient *peer.Client // if we did not join there
}

// close ends connections.
func (r *remote) close() {
	r.uplink.close()
	if r.headClient != nil {
		r.headClient.Close()
	}
}

// runRemote plays the roles node and cluster for a front end elsewhere.
func runRemote(ctx context.Context, c Config) (err error) {
	r := &remote{c: c}
	if err := os.MkdirAll(c.Dir, 0o711); err != nil {
		return err
	}
	creds, err := join(ctx, c)
	if err != nil {
		return err
	}
	var w plan.Welcome
	if err := json.Unmarshal(creds.Welcome().More, &w); err != nil {
		return fmt.Errorf("what the front end told this host when it joined: %w", err)
	}
	r.own, r.c.PublicRange = c.PublicRange, w.PublicRange
	server, address := creds.Server()
	known, err := node.KeptHosts(filepath.Join(c.Dir, "node", keepFile))
	if err != nil {
		return err
	}
	if r.peers, err = advertised(c, address, known); err != nil {
		return err
	}
	if r.wire, err = openWire(c, creds.Identity().Name, w.Mesh, r.peers.Addr()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.wire.close()) }()
	if server.Role == peer.Cluster {
		r.wire.head = server.Name
	}
	r.uplink, err = openUplink(creds, uplinkOptions{addr: r.peers, all: c.PeerListen != r.peers.String(), also: c.Join, known: known, moved: r.moved})
	if err != nil {
		return err
	}
	defer r.close()
	if joined, err := netip.ParseAddrPort(address); err == nil {
		r.wire.moveHead(joined.Addr())
	}
	l, err := net.Listen("tcp", c.PeerListen)
	if err != nil {
		return fmt.Errorf("listen for other hosts: %w", err)
	}
	defer l.Close()
	r.cache, err = disk.NewCache(disk.CacheOptions{Dir: filepath.Join(c.Dir, "cache"), Fetch: r.fetch, InUse: r.inUse})
	if err != nil {
		return err
	}
	if err := r.openHost(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.host.close()) }()

	local, err := frontend.ListenUnix(filepath.Join(c.Dir, "eucad.sock"))
	if err != nil {
		return err
	}
	defer local.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.run(ctx) })
	g.Go(func() error { return r.local(ctx, local) })
	g.Go(func() error { return r.host.agent.Run(ctx) })
	g.Go(func() error { return r.server().Serve(ctx, l) })
	g.Go(func() error { return r.follow(ctx) })
	g.Go(func() error { return r.greet(ctx) })
	if slices.Contains(c.Roles, "node") {
		g.Go(func() error { return holdLease(ctx, r.creds.Identity().Name, r.host.agent, r.askHead) })
	}
	slog.Info("ready", "node", r.creds.Identity().Name, "zone", r.creds.Identity().Zone, "peers", r.peers.String())
	return g.Wait()
}

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

// openHost brings what the roles need of this machine under our hand.
func (r *remote) openHost() error {
	o := hostOptions{
		name: r.creds.Identity().Name, wire: r.wire, keep: keepFile, leased: true,
		image: r.cache.Get,
		report: func(ctx context.Context, s []plan.Status) error {
			return r.up.Call(ctx, "POST", plan.ReportPath, s, nil)
		},
		machines: slices.Contains(r.c.Roles, "node"),
	}
	if err := r.host.open(r.c, o); err != nil {
		return err
	}
	if slices.Contains(r.c.Roles, "cluster") {
		r.zone = cluster.New(cluster.Options{
			Self: r.creds.Identity(), Credentials: r.creds, Version: Version, FrontEnd: r.up,
			Hosts: r.host.agent.Hosts, Image: r.cache.Get,
		})
	}
	return nil
}

// local answers eucad doctor on this host.
func (r *remote) local(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /orphans", admin.OrphansHandler(r.host.agent.Orphans))
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// server is where other hosts reach this one.
func (r *remote) server() *peer.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+plan.ConsolePath+"{id}", r.console)
	o := peer.ServerOptions{Credentials: r.creds, Version: Version, Handler: peer.Only(mux, peer.FrontEnd, peer.Cluster)}
	if r.zone != nil {
		o.Open, o.Handler = r.zone.Open(), r.zone.Handler(mux)
	}
	return peer.NewServer(o)
}

func (r *remote) console(w http.ResponseWriter, req *http.Request) {
	out, when, err := r.host.agent.Console(req.Context(), req.PathValue("id"))
	if err != nil {
		peer.ServeError(w, req, err)
		return
	}
	c := plan.Console{Output: out}
	if !when.IsZero() {
		c.AtMS = when.UnixMilli()
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(c)
}

// follow takes the plan as it changes, until ctx ends. What is refused is
// logged on both sides, and asked for again: the whole plan comes with each new
// stream.
func (r *remote) follow(ctx context.Context) error {
	for wait := retryMin; ; {
		start := time.Now()
		var refused error
		err := r.up.Watch(ctx, plan.PlanPath, "", func(_ string, data json.RawMessage) error {
			var m plan.Message
			if err := json.Unmarshal(data, &m); err != nil {
				return err
			}
			if refused = r.host.agent.Take(m); refused != nil {
				return refused
			}
			if m.Hosts != nil {
				r.know(r.host.agent.Hosts())
				return r.routeToHead()
			}
			return nil
		})
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(start) > retryMax {
			wait = retryMin
		}
		slog.Error("the plan does not come", "err", err)
		if refused != nil {
			if err := r.up.Call(ctx, "POST", plan.RefusedPath, plan.Refused{Why: refused.Error()}, nil); err != nil {
				slog.Debug("the front end does not hear that its plan was refused", "err", err)
			}
		}
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait, retryMax)
	}
}

// moved has guests' packets go to the head where it is now.
func (r *remote) moved(at netip.AddrPort) {
	r.wire.moveHead(at.Addr())
	if err := r.routeToHead(); err != nil {
		slog.Error("guests do not reach other zones", "err", err)
	}
}

// routeToHead has the head's tunnel address, which it has in the network of the
// heads, lead to where we joined it: the zone's own network may know no way.
func (r *remote) routeToHead() error {
	id, address := r.creds.Server()
	joined, err := netip.ParseAddrPort(address)
	if err != nil || id.Role != peer.Cluster || r.wire.mesh != nil {
		return nil
	}
	head := r.host.agent.Hosts().Hosts[id.Name].Tunnel
	if !head.IsValid() || head == joined.Addr() {
		return nil
	}
	if err := link.RouteVia(head, joined.Addr(), r.peers.Addr()); err != nil {
		return fmt.Errorf("route to the head's address %s: %w", head, err)
	}
	return nil
}

// greet tells the front end what this host is and has, and then that it is
// still there.
func (r *remote) greet(ctx context.Context) error {
	var said time.Time // when the front end last took a hello
	refused := ""      // as it was logged
	for {
		var err error
		call, cancel := context.WithTimeout(ctx, plan.LeaseTime) // one that hangs must not make this host look lost
		if time.Since(said) > helloEvery {
			if err = r.hello(call); err == nil {
				said = time.Now()
			}
		} else {
			err = r.up.Call(call, "POST", plan.LeasePath, struct{}{}, nil)
		}
		cancel()
		wait := leaseEvery
		switch code := peer.ErrorCode(err); {
		case ctx.Err() != nil:
		case code != "" && code != peer.Unreachable:
			if now := err.Error(); now != refused {
				slog.Error("the front end refuses this host", "err", err)
				refused = now
			}
			wait = 2 * leaseEvery // within plan.LeaseTime: it may have been a mishap
			said = time.Time{}
		case err != nil:
			slog.Debug("the front end does not answer", "err", err)
			said = time.Time{} // it may be another one, or have lost what it knew
		case refused != "":
			slog.Info("the front end takes this host again")
			refused = ""
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}

func (r *remote) hello(ctx context.Context) error {
	in := plan.Hello{Version: Version, Net: r.wire.net(r.peers)}
	if r.host.driver != nil {
		has, err := r.host.driver.Host(ctx)
		if err != nil {
			return err
		}
		in.Node = &plan.NodeHello{Arch: has.Arch, Kind: has.Kind, Host: capacity(has)}
	}
	if r.zone != nil {
		in.Cluster = &plan.ClusterHello{Regime: plan.Regime(r.c.Regime), PublicRange: r.own}
	}
	return r.up.Call(ctx, "POST", plan.HelloPath, in, nil)
}

// fetch copies the content of an image from the head or the front end.
func (r *remote) fetch(ctx context.Context, hash string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, "GET", plan.ImagePath+hash, nil)
	if err != nil {
		return err
	}
	resp, err := r.up.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}

func (r *remote) inUse(hash string) bool { return r.host.agent != nil && r.host.agent.Needs(hash) }

// pause waits about d (a quarter less or more, so that hosts don't come all at
// once), and reports whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d*3/4 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
