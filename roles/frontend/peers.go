package frontend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/roles/peer"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// peers is the side of a front end that other hosts of the cloud meet.
type peers struct {
	f         *FrontEnd
	epoch     uint64
	authority *peer.Authority
	creds     *peer.Credentials
	listener  net.Listener
	deny      *peer.DenyList
	pools     *peer.Pools
	told      netip.Addr // that gossip says this host is at, if that was a guess
	warned    sync.Once  // that it was a bad one
	gossip    gossipKeys
	news      news // of what welcomes say

	mu      sync.Mutex
	clients map[string]*peer.Client // by address and identity
}

// openPeers makes the cloud's authority and listens for other hosts.
func (f *FrontEnd) openPeers(ctx context.Context) error {
	ca, err := peer.OpenCA(filepath.Join(f.opt.Dir, "ca"))
	if err != nil {
		return err
	}
	p := &peers{f: f, deny: &peer.DenyList{}, clients: map[string]*peer.Client{}}
	err = f.db.Write(ctx, func(tx store.Tx) (err error) {
		epoch, err := setting(ctx, tx, "epoch", func() string { return strconv.FormatInt(tx.Now().Unix(), 10) })
		if err != nil {
			return err
		}
		if p.epoch, err = strconv.ParseUint(epoch, 10, 64); err != nil {
			return err
		}
		return p.gossip.load(ctx, tx)
	})
	if err != nil {
		return err
	}
	store := trust{db: f.db}
	if len(f.opt.Zones) > 0 {
		store.own = f.opt.Name
	}
	p.authority = &peer.Authority{CA: ca, Tokens: store, Names: store, Deny: p.deny, Welcome: func(ctx context.Context, id peer.Identity) (peer.Welcome, error) {
		at, err := f.meshAddr(ctx, id)
		if err != nil {
			return peer.Welcome{}, err
		}
		more, err := json.Marshal(plan.Welcome{PublicRange: f.opt.PublicPool, Mesh: at})
		if err != nil {
			return peer.Welcome{}, err
		}
		w := peer.Welcome{More: more}
		w.LAN, w.WAN = p.gossip.now()
		if id.Role == peer.Node {
			w.WAN = nil
		}
		return w, nil
	}}
	if p.creds, err = p.authority.Credentials(ctx, f.opt.Name); err != nil {
		return err
	}
	if p.listener, err = net.Listen("tcp", f.opt.PeerListen); err != nil {
		return fmt.Errorf("listen for other hosts: %w", err)
	}
	if err := p.readDenied(ctx); err != nil {
		return err
	}
	f.peers = p
	return p.openPools(ctx)
}

// meshAddr returns the address of a host in the mesh: its own for good.
func (f *FrontEnd) meshAddr(ctx context.Context, id peer.Identity) (at netip.Addr, err error) {
	err = f.db.Read(ctx, func(rx store.Rx) error { // as a rule it has one
		text, err := rx.Setting(ctx, "mesh "+id.String())
		if err == nil && text != "" {
			at, err = netip.ParseAddr(text)
		}
		return err
	})
	if err != nil || at.IsValid() {
		return at, err
	}
	err = f.db.Write(ctx, func(tx store.Tx) error {
		text, err := tx.Setting(ctx, "mesh "+id.String())
		if err != nil {
			return err
		}
		if text != "" {
			at, err = netip.ParseAddr(text)
			return err
		}
		last, err := tx.Setting(ctx, "mesh-last")
		if err != nil {
			return err
		}
		at = plan.MeshPrefix.Addr()
		if last != "" {
			if at, err = netip.ParseAddr(last); err != nil {
				return err
			}
		}
		if at = at.Next(); !plan.MeshPrefix.Contains(at) {
			return fmt.Errorf("the mesh %s has no address left for %s", plan.MeshPrefix, id)
		}
		return errors.Join(tx.PutSetting(ctx, "mesh-last", at.String()), tx.PutSetting(ctx, "mesh "+id.String(), at.String()))
	})
	return at, err
}

// Mesh returns this host's own address in the mesh; the zero Addr for a cloud
// without other hosts.
func (f *FrontEnd) Mesh(ctx context.Context) (netip.Addr, error) {
	if f.peers == nil {
		return netip.Addr{}, nil
	}
	return f.meshAddr(ctx, f.peers.creds.Identity())
}

// setting returns what is kept under name, made when there is nothing.
func setting(ctx context.Context, tx store.Tx, name string, make func() string) (string, error) {
	v, err := tx.Setting(ctx, name)
	if err == nil && v == "" {
		v = make()
		err = tx.PutSetting(ctx, name, v)
	}
	return v, err
}

// handler is what hosts of the cloud may ask.
func (p *peers) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+plan.PlanPath, p.plan)
	mux.HandleFunc("GET "+plan.WelcomePath, p.welcome)
	mux.HandleFunc("POST "+plan.RefusedPath, peer.Handle(p.refused))
	mux.HandleFunc("POST "+plan.ReportPath, peer.Handle(p.report))
	mux.HandleFunc("POST "+plan.HelloPath, peer.Handle(p.hello))
	mux.HandleFunc("POST "+plan.LeasePath, peer.Handle(p.lease))
	mux.HandleFunc("POST "+plan.GrantPath, peer.Handle(p.grant))
	mux.HandleFunc("GET "+plan.ImagePath+"{hash}", p.image)
	return peer.Only(mux, peer.Node, peer.Cluster)
}

func (p *peers) run(ctx context.Context) error {
	s := peer.NewServer(peer.ServerOptions{Credentials: p.creds, Version: p.f.opt.Version, Open: p.authority, Handler: p.handler()})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Serve(ctx, p.listener) })
	g.Go(func() error { return p.creds.Run(ctx, p.authority.Renew) })
	g.Go(func() error { return p.pools.Run(ctx) })
	g.Go(func() error { return p.turnKeys(ctx) })
	g.Go(func() error { return p.f.Control.Watch(ctx) })
	return g.Wait()
}

// plan streams the caller's plan.
func (p *peers) plan(w http.ResponseWriter, r *http.Request) {
	id := peer.Caller(r.Context())
	s := newSession(p.epoch)
	p.f.Control.Join(id.Name, s, true)
	defer p.f.Control.Leave(id.Name, s)
	slog.Info("host takes its plan", "node", id.Name, "role", string(id.Role))
	err := peer.Stream(w, r, s.next)
	if err != nil && r.Context().Err() == nil {
		slog.Warn("host takes its plan no more", "node", id.Name, "err", err)
	}
}

// refused takes why the caller does not take its plan.
func (p *peers) refused(ctx context.Context, in plan.Refused) (struct{}, error) {
	slog.Error("host refuses its plan", "node", peer.Caller(ctx).Name, "err", in.Why[:min(len(in.Why), 500)])
	return struct{}{}, nil
}

// report takes what became of the caller's machines.
func (p *peers) report(ctx context.Context, all []plan.Status) (struct{}, error) {
	p.f.Control.Renew(peer.Caller(ctx).Name)
	return struct{}{}, p.f.Control.ReportFrom(ctx, peer.Caller(ctx).Name, all)
}

// hello takes what a host says of itself.
func (p *peers) hello(ctx context.Context, in plan.Hello) (out struct{}, err error) {
	id := peer.Caller(ctx)
	p.f.Control.Renew(id.Name) // it is there, whatever it says
	p.checkAddr(ctx)
	if in.Node != nil {
		n := cloud.Node{Name: id.Name, Zone: id.Zone, Arch: in.Node.Arch, Kind: in.Node.Kind, Seen: time.Now().UTC(), Version: in.Version, Net: in.Net}
		n.SetHost(in.Node.Host, p.f.opt.Overcommit)
		if err := p.f.putNodes(ctx, false, n); err != nil {
			return out, err
		}
	}
	if in.Cluster != nil {
		if id.Role != peer.Cluster {
			return out, peer.Errorf(http.StatusForbidden, peer.WrongRole, "%s is not the head of a zone: its certificate says %s", id.Name, id.Role)
		}
		c := cloud.Cluster{Zone: id.Zone, Head: id.Name, Regime: string(in.Cluster.Regime), PublicRange: in.Cluster.PublicRange, Net: in.Net, Version: in.Version, Seen: time.Now().UTC()}
		if err := p.f.AddCluster(ctx, c); err != nil {
			return out, err
		}
	}
	return p.lease(ctx, struct{}{})
}

// lease notes that the caller is there.
func (p *peers) lease(ctx context.Context, _ struct{}) (out struct{}, err error) {
	p.f.Control.Renew(peer.Caller(ctx).Name)
	return out, nil
}

// grant renews the lease of a node whose zone has its head in this process.
func (p *peers) grant(ctx context.Context, _ struct{}) (out struct{}, err error) {
	id := peer.Caller(ctx)
	if p.f.opt.Head == nil || !slices.Contains(p.f.opt.Zones, id.Zone) {
		return out, peer.Errorf(http.StatusConflict, peer.WrongHost, "%s is not the head of zone %s", p.f.opt.Name, id.Zone)
	}
	return out, p.f.opt.Head.Grant(id.Name)
}

// image sends the content of an image.
func (p *peers) image(w http.ResponseWriter, r *http.Request) {
	path, ok := p.f.opt.ImagePath(r.PathValue("hash"))
	if !ok {
		peer.ServeError(w, r, peer.Errorf(http.StatusNotFound, peer.NotFound, "there is no image with the content %q", r.PathValue("hash")))
		return
	}
	f, err := os.Open(path)
	if err != nil {
		peer.ServeError(w, r, err)
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	}
	io.Copy(w, f)
}

// console asks the node of an instance, by way of its zone's head if the zone
// has one of its own, what the instance wrote to its serial port.
func (p *peers) console(ctx context.Context, i cloud.Instance) ([]byte, time.Time, error) {
	c, err := p.node(ctx, i.Node)
	if err != nil {
		return nil, time.Time{}, err
	}
	var out plan.Console
	if err := c.Call(ctx, "GET", plan.ConsolePath+i.ID, nil, &out); err != nil {
		return nil, time.Time{}, fmt.Errorf("console of %s on %s: %w", i.ID, i.Node, err)
	}
	if out.AtMS == 0 {
		return out.Output, time.Time{}, nil
	}
	return out.Output, time.UnixMilli(out.AtMS).UTC(), nil
}

var errNoWay = errors.New("the host has not said where it is reached")

// node returns a client of the node.
func (p *peers) node(ctx context.Context, name string) (*peer.Client, error) {
	var n cloud.Node
	var k cloud.Cluster
	var headed bool
	err := p.f.db.Read(ctx, func(rx store.Rx) (err error) {
		var ok bool
		if n, ok, err = rx.Node(ctx, name); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("there is no node %s", name)
		}
		k, headed, err = rx.Cluster(ctx, n.Zone)
		return err
	})
	if err != nil {
		return nil, err
	}
	if headed && k.Head != "" && k.Head != p.f.opt.Name {
		c, err := p.client(k.Net.Addr, peer.Identity{Role: peer.Cluster, Name: k.Head, Zone: k.Zone})
		if err != nil {
			return nil, err
		}
		return c.Under("/node/" + name), nil
	}
	return p.client(n.Net.Addr, peer.Identity{Role: peer.Node, Name: name, Zone: n.Zone})
}

func (p *peers) client(addr string, id peer.Identity) (*peer.Client, error) {
	if addr == "" {
		return nil, fmt.Errorf("%s: %w", id.Name, errNoWay)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := strings.Join([]string{addr, id.String()}, " ")
	c := p.clients[key]
	if c == nil {
		c = peer.NewClient(peer.ClientOptions{Address: addr, Peer: id, Credentials: p.creds, Version: p.f.opt.Version})
		p.clients[key] = c
	}
	return c, nil
}
