// Package simtest raises whole clouds in one process, breaks them by a seed,
// and checks what must always hold.
package simtest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"eucad/api/ec2"
	"eucad/api/query"
	"eucad/api/sigv4"
	"eucad/roles/control"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

const (
	region = "test-1"
	imageH = "5eed" // content of the one image
)

var (
	zones = []string{"test-1a", "test-1b", "test-1c"}
	pool  = netip.MustParsePrefix("198.18.0.0/27")                                     // small, so that it runs out
	own   = map[string]netip.Prefix{"test-1b": netip.MustParsePrefix("198.18.1.0/28")} // of zones with public addresses of their own
)

// A frontEnd is one life of the front end: store, API and control as
// roles/frontend wires them, less what listens.
type frontEnd struct {
	t        testing.TB
	db       *store.DB
	start    time.Time
	control  *control.Control
	handler  http.Handler
	accounts []string
	image    string
	end      func()
}

// openFrontEnd opens the store in file. New volumes are in the pool volumes;
// heads are those of the zones, nil for a cloud whose nodes are never lost.
func openFrontEnd(t testing.TB, file string, pool netip.Prefix, accounts int, volumes string, heads control.Fencer, options ...store.Option) *frontEnd {
	t.Helper()
	db, err := store.Open(file, options...)
	if err != nil {
		t.Fatal(err)
	}
	f := &frontEnd{t: t, db: db, start: time.Now(), control: control.New(db, control.Options{Site: plan.Site{Region: region, Domain: "example.net"}, Fencer: heads})}
	f.firstStart(accounts)
	srv := &ec2.Server{DB: db, Cfg: ec2.Config{Region: region, Domain: "example.net", Zones: func() []string { return zones },
		PublicPool: pool, Types: cloud.NewTypes(), Endpoint: "http://ec2.example.net:8773", Pool: volumes}}
	f.handler = &query.Handler{Services: []*query.Service{srv.Service()}, PageKey: []byte("pages"),
		Verify: func(r *http.Request, _ []byte) (sigv4.Identity, error) {
			return sigv4.Identity{AccountID: r.Header.Get("X-Account"), AccessKeyID: "AKIATEST"}, nil
		}}
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.control.Run(ctx) })
	if heads != nil {
		g.Go(func() error { return f.control.Watch(ctx) })
	}
	f.end = func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("control: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	}
	return f
}

// firstStart makes accounts and an image in an empty store, and finds them in another.
func (f *frontEnd) firstStart(accounts int) {
	ctx := context.Background()
	f.write(func(tx store.Tx) error {
		all, err := tx.Accounts(ctx)
		if err != nil {
			return err
		}
		for n := len(all); n < accounts; n++ {
			a, err := tx.AddAccount(ctx, fmt.Sprintf("account%04d", n))
			if err != nil {
				return err
			}
			if err := tx.AddNetwork(ctx, cloud.NewDefaultNetwork(a.ID, zones, tx.Now())); err != nil {
				return err
			}
			all = append(all, a)
		}
		for _, a := range all {
			f.accounts = append(f.accounts, a.ID)
		}
		if f.image, err = tx.Setting(ctx, "simtest-image"); err != nil || f.image != "" {
			return err
		}
		snap := cloud.Snapshot{ID: cloud.NewID("snap"), AccountID: all[0].ID, State: "completed", Hash: imageH, SizeGiB: 1, SizeBytes: 1 << 30, Created: tx.Now()}
		ami := cloud.Image{ID: cloud.NewID("ami"), AccountID: all[0].ID, Name: "tiny", Type: "machine", Arch: "x86_64", State: "available", RootDevice: "/dev/sda1",
			Hash: snap.Hash, SizeBytes: snap.SizeBytes, Public: true, Created: tx.Now(),
			Mappings: []cloud.ImageMapping{{Device: "/dev/sda1", SnapshotID: snap.ID, SizeGiB: 1, DeleteOnTermination: true, VolumeType: "gp3"}}}
		f.image = ami.ID
		if err := tx.PutSnapshot(ctx, snap); err != nil {
			return err
		}
		if err := tx.PutImage(ctx, ami); err != nil {
			return err
		}
		return tx.PutSetting(ctx, "simtest-image", ami.ID)
	})
}

func (f *frontEnd) write(fn func(store.Tx) error) {
	f.t.Helper()
	if err := f.db.Write(context.Background(), fn); err != nil {
		f.t.Fatal(err)
	}
}

func (f *frontEnd) read(fn func(context.Context, store.Rx) error) {
	f.t.Helper()
	ctx := context.Background()
	if err := f.db.Read(ctx, func(rx store.Rx) error { return fn(ctx, rx) }); err != nil {
		f.t.Fatal(err)
	}
}

// addNodes adds hosts; the first of each zone is its head, which has the public
// addresses that ranges names for its zone.
func (f *frontEnd) addNodes(nodes []cloud.Node, ranges map[string]netip.Prefix) {
	f.t.Helper()
	headed := map[string]bool{}
	ctx := context.Background()
	f.write(func(tx store.Tx) error {
		for _, n := range nodes {
			if err := tx.PutNode(ctx, n); err != nil {
				return err
			}
			if headed[n.Zone] {
				continue
			}
			headed[n.Zone] = true
			regime := plan.Edge
			if len(headed)%2 == 0 {
				regime = plan.Head
			}
			if err := tx.PutCluster(ctx, cloud.Cluster{Zone: n.Zone, Head: n.Name, Regime: string(regime), PublicRange: ranges[n.Zone], Net: n.Net}); err != nil {
				return err
			}
		}
		return nil
	})
}

// call makes an API call and returns its status and body.
func (f *frontEnd) call(account, action string, args ...string) (int, string) {
	form := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
	for n := 0; n < len(args); n += 2 {
		form.Add(args[n], args[n+1])
	}
	r := httptest.NewRequest("GET", "/?"+form.Encode(), nil)
	r.Header.Set("X-Account", account)
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

var (
	instanceID   = regexp.MustCompile(`<instanceId>(i-[0-9a-f]{17})<`)
	groupID      = regexp.MustCompile(`<groupId>(sg-[0-9a-f]{17})<`)
	allocationID = regexp.MustCompile(`<allocationId>(eipalloc-[0-9a-f]{17})<`)
	faultCode    = regexp.MustCompile(`<Code>([^<]*)<`)
)

// all returns what the first group of re matches in body.
func all(re *regexp.Regexp, body string) []string {
	var out []string
	for _, m := range re.FindAllStringSubmatch(body, -1) {
		out = append(out, m[1])
	}
	return out
}

func storeFile(t testing.TB) string { return filepath.Join(t.TempDir(), "eucad.db") }
