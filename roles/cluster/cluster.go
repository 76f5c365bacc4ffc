// Package cluster is the head of a zone: it relays between the front end and
// its nodes, and keeps the images that they ask for.
package cluster

import (
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"

	"eucad/roles/peer"
	"eucad/roles/plan"
)

// Options are what a Head works with.
type Options struct {
	Self        peer.Identity
	Credentials *peer.Credentials
	Version     string
	FrontEnd    *peer.Client

	// Hosts returns who is in the cloud.
	Hosts func() plan.Hosts

	// Volumes is the server of the zone's network pool; nil: there is none.
	Volumes Volumes

	// Image returns the path of an image's content on this host, fetched from
	// the front end when it must.
	Image func(ctx context.Context, hash string) (path string, err error)
}

// A Head serves a zone.
type Head struct {
	// Leases are those of the zone's nodes.
	Leases *Leases

	opt   Options
	relay *peer.Relay

	mu    sync.Mutex
	nodes map[string]*peer.Client // by name
	addrs map[string]string       // that they were made for
}

// New returns a Head.
func New(o Options) *Head {
	h := &Head{Leases: NewLeases(o.Volumes), opt: o, nodes: map[string]*peer.Client{}, addrs: map[string]string{}}
	h.relay = &peer.Relay{Self: o.Self, Node: h.node, FrontEnd: func() *peer.Client { return o.FrontEnd }}
	return h
}

// Open lets hosts of the zone join and renew: see peer.ServerOptions.
func (h *Head) Open() http.Handler { return h.relay.Open() }

// Handler serves peers: what is for the front end or a node passes on, but for
// images, which are kept here. own answers for this host itself.
func (h *Head) Handler(own http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /frontend"+plan.ImagePath+"{hash}", h.image)
	mux.Handle("/frontend/", h.relay)
	mux.Handle("/node/", h.relay)
	mux.Handle("POST "+plan.GrantPath, peer.Only(peer.Handle(h.grant), peer.Node))
	mux.Handle("POST "+plan.FencePath, peer.Only(peer.Handle(h.fence), peer.FrontEnd))
	mux.Handle("/", peer.Only(own, peer.FrontEnd))
	return mux
}

// grant renews the lease of a node of the zone.
func (h *Head) grant(ctx context.Context, _ struct{}) (out struct{}, err error) {
	id := peer.Caller(ctx)
	if id.Zone != h.opt.Self.Zone {
		return out, peer.Errorf(http.StatusForbidden, peer.WrongZone, "%s is of zone %s, and this is the head of %s", id.Name, id.Zone, h.opt.Self.Zone)
	}
	return out, h.Leases.Grant(id.Name)
}

// fence does as the front end wants with the lease of a node.
func (h *Head) fence(ctx context.Context, f plan.Fence) (plan.Fenced, error) {
	wait, err := h.Leases.Fence(ctx, f)
	return plan.NewFenced(wait), err
}

// node returns a client of the zone's node, nil when there is none of that name.
func (h *Head) node(name string) *peer.Client {
	hosts := h.opt.Hosts()
	v, ok := hosts.Hosts[name]
	if !ok || v.Zone != h.opt.Self.Zone || v.Addr == "" {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.addrs[name] != v.Addr {
		if old := h.nodes[name]; old != nil {
			old.Close()
		}
		h.addrs[name] = v.Addr
		h.nodes[name] = peer.NewClient(peer.ClientOptions{Address: v.Addr, Credentials: h.opt.Credentials, Version: h.opt.Version,
			Peer: peer.Identity{Role: peer.Node, Name: name, Zone: v.Zone}})
	}
	return h.nodes[name]
}

// image sends the content of an image to a node of the zone.
func (h *Head) image(w http.ResponseWriter, r *http.Request) {
	path, err := h.opt.Image(r.Context(), r.PathValue("hash"))
	if err != nil {
		peer.ServeError(w, r, err)
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
