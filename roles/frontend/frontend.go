// Package frontend serves the APIs, owns the store and decides: it wires
// api/*, store and roles/control together.
package frontend

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/api/admin"
	"eucad/api/ec2"
	"eucad/api/query"
	"eucad/api/sigv4"
	"eucad/api/sts"
	"eucad/roles/control"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// Options are what a FrontEnd works with.
type Options struct {
	Dir        string // of its state: store, images, admin socket
	Listen     string // address of the API, "127.0.0.1:8773"
	Endpoint   string // URL by which clients reach it; "" derives it from Listen
	Region     string
	Domain     string   // of public DNS names
	Zones      []string // that there are from the first start on, in order; clusters that join bring theirs
	Name       string   // of this host
	Version    string   // of eucad
	PeerListen string   // address for other hosts of the cloud, "0.0.0.0:8774"; "" takes none
	Overcommit cloud.Overcommit
	PublicPool netip.Prefix
	Types      *cloud.Types
	Policy     cloud.Policy // says where instances go; nil for the default one
	MTU        int          // of guests' interfaces
	Pool       string       // of new volumes; see ec2.Config

	// Head is that of Zones, when this process plays it too; nil: it does not.
	Head Head

	// Console asks the node of an instance what it wrote to its serial port.
	Console func(ctx context.Context, i cloud.Instance) ([]byte, time.Time, error)

	// Orphans returns the guests on this host that its plan does not know; nil
	// for a host without guests.
	Orphans func(ctx context.Context) ([]string, error)

	// ImagePath returns where the content of an image is, for other hosts.
	ImagePath func(hash string) (string, bool)

	// Import brings a disk image, kernel or ramdisk into the image directory.
	Import admin.Importer
}

// A Head grants the leases of a zone's nodes; see cluster.Leases.
type Head interface {
	Grant(node string) error
	Fence(ctx context.Context, f plan.Fence) (time.Duration, error)
}

// A FrontEnd is the API side of a cloud.
type FrontEnd struct {
	Control   *control.Control
	zoneNames atomic.Pointer[[]string]

	opt      Options
	db       *store.DB
	listener net.Listener
	admin    *admin.Server
	ec2      *ec2.Server
	api      http.Handler
	peers    *peers // nil: the cloud has no other hosts
}

// shutdownTime bounds how long answers under way may still take.
const shutdownTime = 5 * time.Second

// Open opens the store, brings it in line with the options and claims the
// API's address. The front end serves once it runs.
func Open(ctx context.Context, opt Options) (*FrontEnd, error) {
	if err := os.MkdirAll(filepath.Join(opt.Dir, "images"), 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", opt.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	if opt.Endpoint == "" {
		opt.Endpoint = endpoint(l.Addr())
	}
	db, err := store.Open(filepath.Join(opt.Dir, "eucad.db"))
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	f := &FrontEnd{opt: opt, db: db, listener: l}
	if err := f.prepare(ctx); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// prepare makes what a cloud has from its first start on.
func (f *FrontEnd) prepare(ctx context.Context) error {
	var pageKey string
	err := f.db.Write(ctx, func(tx store.Tx) (err error) {
		if pageKey, err = tx.Setting(ctx, "page-key"); err != nil {
			return err
		}
		if pageKey == "" {
			var b [32]byte
			rand.Read(b[:])
			pageKey = hex.EncodeToString(b[:])
			if err := tx.PutSetting(ctx, "page-key", pageKey); err != nil {
				return err
			}
		}
		return f.firstAccount(ctx, tx)
	})
	if err != nil {
		return err
	}
	if f.opt.PeerListen != "" {
		if err := f.openPeers(ctx); err != nil {
			return err
		}
	}
	f.Control = control.New(f.db, control.Options{
		Site:   plan.Site{Region: f.opt.Region, Domain: f.opt.Domain, MTU: f.opt.MTU, Public: f.opt.PublicPool},
		Policy: f.opt.Policy, Fencer: fencer{f},
	})
	keys := &keyring{db: f.db, known: map[string]knownKey{}}
	verifier := &sigv4.Verifier{Key: keys.find}
	f.ec2 = &ec2.Server{DB: f.db, Console: f.console, Cfg: ec2.Config{
		Region: f.opt.Region, Domain: f.opt.Domain, Zones: f.zones,
		PublicPool: f.opt.PublicPool, Types: f.opt.Types, Endpoint: f.opt.Endpoint, Policy: f.opt.Policy, Pool: f.opt.Pool,
	}}
	f.api = &query.Handler{
		Services: []*query.Service{f.ec2.Service(), sts.Service()},
		Verify:   verifier.Verify,
		PageKey:  []byte(pageKey),
	}
	f.admin = &admin.Server{
		DB: f.db, Region: f.opt.Region, Zones: f.zones, Endpoint: f.opt.Endpoint,
		Images: filepath.Join(f.opt.Dir, "images"), Import: f.opt.Import,
		Orphans:   f.opt.Orphans,
		Hosts:     f.Hosts(),
		PowerSave: f.opt.Policy != nil && f.opt.Policy.Name() == "powersave",
	}
	return nil
}

// firstAccount makes the account "admin" in an empty store, and gives every
// default VPC a subnet in each zone there is now.
func (f *FrontEnd) firstAccount(ctx context.Context, tx store.Tx) error {
	all, err := tx.Accounts(ctx)
	if err != nil {
		return err
	}
	if err := f.readZones(ctx, tx.Rx); err != nil {
		return err
	}
	if err := f.checkPool(ctx, tx.Rx); err != nil {
		return err
	}
	if len(all) == 0 {
		_, _, _, err := admin.AddAccount(ctx, f.db, tx, "admin", f.zones())
		return err
	}
	return f.addSubnets(ctx, tx)
}

// console asks the node of an instance what the instance wrote to its serial port.
func (f *FrontEnd) console(ctx context.Context, i cloud.Instance) ([]byte, time.Time, error) {
	if out, when, err := f.opt.Console(ctx, i); f.peers == nil || !errors.Is(err, ErrNotHere) {
		return out, when, err
	}
	return f.peers.console(ctx, i)
}

// ErrNotHere says that an instance's node is not in this process.
var ErrNotHere = errors.New("the instance is on another host")

// AddNode adds or updates the rows of nodes that this process plays itself.
func (f *FrontEnd) AddNode(ctx context.Context, nodes ...cloud.Node) error {
	for _, n := range nodes {
		f.Control.Own(n.Name)
	}
	return f.putNodes(ctx, true, nodes...)
}

// putNodes adds or updates the rows of nodes as they say of themselves, and
// keeps what the cloud says of them; own ones can't be lost. A node that is new
// may have the name of one that its head fenced off, and that was removed since.
func (f *FrontEnd) putNodes(ctx context.Context, own bool, nodes ...cloud.Node) error {
	return f.db.Write(ctx, func(tx store.Tx) error {
		for _, n := range nodes {
			was, ok, err := tx.Node(ctx, n.Name)
			if err != nil {
				return err
			}
			n.Cordoned, n.Lost, n.Fence = was.Cordoned, was.Lost && !own, was.Fence
			if !ok {
				if err := tx.TurnFence(ctx, &n, false); err != nil {
					return err
				}
			}
			if err := tx.PutNode(ctx, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// Endpoint returns the URL of the API.
func (f *FrontEnd) Endpoint() string { return f.opt.Endpoint }

// Run serves until ctx ends, and then lets answers under way finish.
func (f *FrontEnd) Run(ctx context.Context) error {
	sock := filepath.Join(f.opt.Dir, "eucad.sock")
	local, err := ListenUnix(sock)
	if err != nil {
		return fmt.Errorf("listen for administrators: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve(ctx, f.listener, f.api) })
	g.Go(func() error { return serve(ctx, local, f.admin.Handler()) })
	g.Go(func() error { return f.Control.Run(ctx) })
	g.Go(func() error { return f.admin.CollectImages(ctx) })
	if f.peers != nil {
		g.Go(func() error { return f.peers.run(ctx) })
	}
	slog.Info("ready", "endpoint", f.opt.Endpoint)
	return g.Wait()
}

// Close closes the store. It is called once, after Run.
func (f *FrontEnd) Close() error {
	f.listener.Close()
	return f.db.Close()
}

func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		s.Close()
	}
	<-done
	return nil
}

// ListenUnix listens on the socket name, which only our user may open. A
// socket nobody answers on any more is replaced.
func ListenUnix(name string) (net.Listener, error) {
	if c, err := net.Dial("unix", name); err == nil {
		c.Close()
		return nil, fmt.Errorf("another eucad runs in %s", filepath.Dir(name))
	}
	os.Remove(name)
	l, err := net.Listen("unix", name)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(name, 0o600)
}

// endpoint returns the URL for an address that was listened on.
func endpoint(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err == nil && ap.Addr().IsUnspecified() {
		host, err := os.Hostname()
		if err == nil {
			return fmt.Sprintf("http://%s:%d/", host, ap.Port())
		}
	}
	return "http://" + a.String() + "/"
}

// A keyring finds secrets. What it found stays good while the store stays as it is.
type keyring struct {
	db    *store.DB
	mu    sync.Mutex
	known map[string]knownKey
}

type knownKey struct {
	cred sigv4.Credential
	rev  uint64
}

const keyringMax = 1024 // keys that are remembered

func (k *keyring) find(ctx context.Context, id string) (sigv4.Credential, error) {
	rev := k.db.Rev()
	k.mu.Lock()
	was, ok := k.known[id]
	k.mu.Unlock()
	if ok && was.rev == rev {
		return was.cred, nil
	}
	var cred sigv4.Credential
	err := k.db.Read(ctx, func(rx store.Rx) error {
		key, secret, ok, err := k.db.AccessKey(ctx, rx, id)
		if err != nil {
			return err
		}
		if !ok || key.Inactive {
			return sigv4.ErrNoKey
		}
		cred = sigv4.Credential{Secret: secret, AccountID: key.AccountID}
		return nil
	})
	if err != nil {
		return cred, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) >= keyringMax {
		clear(k.known)
	}
	k.known[id] = knownKey{cred, rev}
	return cred, nil
}
