package ec2

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"eucad/api/query"
	"eucad/api/sigv4"
	"eucad/store"
	"eucad/store/cloud"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// A site is a cloud with a real store, two accounts and two nodes, served by
// the real handler. Only the signature is left out: X-Account names the caller.
type site struct {
	t       testing.TB
	file    string // of the store
	db      *store.DB
	srv     *Server
	handler http.Handler
	account map[string]string // name → id
	console []byte

	stable map[string]string // random thing → its name in scripts
	random map[string]string // the other way round
	count  map[string]int
}

// newSite opens a site with the accounts alice and bob. Alice has a snapshot
// (snap-#1) and a public image of it (ami-#1), a kernel (aki-#1) and a ramdisk (ari-#1).
func newSite(t testing.TB) *site {
	t.Helper()
	c := &site{t: t, file: filepath.Join(t.TempDir(), "db"), account: map[string]string{},
		stable: map[string]string{}, random: map[string]string{}, count: map[string]int{}}
	c.open()
	t.Cleanup(func() { c.db.Close() })
	zones := []string{"test-1a", "test-1b"}
	c.write(func(tx store.Tx) error {
		ctx := c.ctx()
		for _, name := range []string{"alice", "bob"} {
			a, err := tx.AddAccount(ctx, name)
			if err != nil {
				return err
			}
			c.account[name] = a.ID
			c.name(a.ID, strings.ToUpper(name))
			if err := tx.AddNetwork(ctx, cloud.NewDefaultNetwork(a.ID, zones, tx.Now())); err != nil {
				return err
			}
		}
		for n, zone := range zones {
			node := cloud.Node{Name: fmt.Sprint("n", n+1), Zone: zone, Arch: "x86_64", Kind: "sim", CPUs: 8, MemoryMiB: 8192, DiskGiB: 100}
			if err := tx.PutNode(ctx, node); err != nil {
				return err
			}
		}
		return c.addImages(ctx, tx)
	})
	return c
}

func (c *site) addImages(ctx context.Context, tx store.Tx) error {
	alice, now := c.account["alice"], tx.Now()
	snap := cloud.Snapshot{ID: cloud.NewID("snap"), AccountID: alice, State: "completed", Hash: "5eed", SizeGiB: 2, SizeBytes: 2 << 30, Description: "disk", Created: now}
	ami := cloud.Image{ID: cloud.NewID("ami"), AccountID: alice, Name: "tiny", Type: "machine", Arch: "x86_64", State: "available", RootDevice: "/dev/sda1",
		Hash: snap.Hash, SizeBytes: snap.SizeBytes, Public: true, EnaSupport: true, Created: now,
		Mappings: []cloud.ImageMapping{{Device: "/dev/sda1", SnapshotID: snap.ID, SizeGiB: 2, DeleteOnTermination: true, VolumeType: "gp3"}}}
	aki := cloud.Image{ID: cloud.NewID("aki"), AccountID: alice, Name: "kernel", Type: "kernel", Arch: "x86_64", State: "available", Hash: "c0de", SizeBytes: 1 << 20, Created: now}
	ari := cloud.Image{ID: cloud.NewID("ari"), AccountID: alice, Name: "ramdisk", Type: "ramdisk", Arch: "x86_64", State: "available", Hash: "da7a", SizeBytes: 1 << 20, Created: now}
	for _, id := range []string{snap.ID, ami.ID, aki.ID, ari.ID} {
		c.stableText(id)
	}
	if err := tx.PutSnapshot(ctx, snap); err != nil {
		return err
	}
	for _, m := range []cloud.Image{ami, aki, ari} {
		if err := tx.PutImage(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// open opens the store and the server above it.
func (c *site) open() {
	c.t.Helper()
	db, err := store.Open(c.file)
	if err != nil {
		c.t.Fatal(err)
	}
	c.db = db
	c.srv = &Server{DB: db, Cfg: Config{Region: "test-1", Domain: "example.net", Zones: func() []string { return []string{"test-1a", "test-1b"} },
		PublicPool: netip.MustParsePrefix("198.18.0.0/28"), Types: cloud.NewTypes(), Endpoint: "http://ec2.example.net:8773"}}
	c.srv.Console = func(context.Context, cloud.Instance) ([]byte, time.Time, error) { return c.console, time.Now(), nil }
	c.handler = &query.Handler{
		Services: []*query.Service{c.srv.Service()},
		PageKey:  []byte("pages"),
		Verify: func(r *http.Request, _ []byte) (sigv4.Identity, error) {
			return sigv4.Identity{AccountID: r.Header.Get("X-Account"), AccessKeyID: "AKIATEST"}, nil
		},
	}
}

func (c *site) ctx() context.Context { return context.Background() }

func (c *site) write(fn func(store.Tx) error) {
	c.t.Helper()
	if err := c.db.Write(c.ctx(), fn); err != nil {
		c.t.Fatal(err)
	}
}

// call sends a form as the named account and returns status and body as they are.
func (c *site) call(who, form string) (int, string) {
	r := httptest.NewRequest("POST", "/", strings.NewReader(c.randomText(form)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Account", c.account[who])
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// must sends a form as alice; it fails the test unless the call succeeds.
// What is random in the answer has stable names.
func (c *site) must(form string) string {
	c.t.Helper()
	code, body := c.call("alice", form)
	if code != http.StatusOK {
		c.t.Fatalf("%s: %d %s", form, code, body)
	}
	return c.stableText(body)
}

// settle does what control does when all goes well: each instance reaches the
// state that it is on the way to.
func (c *site) settle() {
	c.t.Helper()
	c.write(settle)
}

func settle(tx store.Tx) error {
	ctx := context.Background()
	moving, err := tx.InstancesMoving(ctx)
	if err != nil {
		return err
	}
	for _, i := range moving {
		switch i.State {
		case cloud.Pending:
			err = i.Move(cloud.Running, tx.Now())
		case cloud.Stopping:
			err = i.Move(cloud.Stopped, tx.Now())
		case cloud.ShuttingDown:
			err = i.Move(cloud.Terminated, tx.Now())
		}
		if err != nil {
			return err
		}
		if err := release(ctx, tx, &i); err != nil {
			return err
		}
		if err := tx.PutInstance(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// release gives back what an instance no longer has in its new state.
func release(ctx context.Context, tx store.Tx, i *cloud.Instance) error {
	if i.State == cloud.Running {
		return nil
	}
	enis, err := tx.InterfacesOfInstance(ctx, i.ID)
	if err != nil {
		return err
	}
	for _, n := range enis {
		as, err := tx.AddressesOfInterface(ctx, n.ID)
		if err != nil {
			return err
		}
		for _, a := range as {
			if a.Auto {
				err = tx.DeleteAddress(ctx, a)
			}
			if err != nil {
				return err
			}
		}
		if i.State != cloud.Terminated {
			continue
		}
		if n.DeleteOnTermination {
			err = tx.DeleteInterface(ctx, n)
		} else {
			n.InstanceID, n.AttachmentID = "", ""
			err = tx.PutInterface(ctx, n)
		}
		if err != nil {
			return err
		}
	}
	if i.State != cloud.Terminated {
		return nil
	}
	vols, err := tx.VolumesOfInstance(ctx, i.ID)
	if err != nil {
		return err
	}
	for _, v := range vols {
		if v.DeleteOnTermination {
			err = tx.DeleteVolume(ctx, v)
		} else {
			v.InstanceID, v.Device, v.State = "", "", cloud.VolumeAvailable
			err = tx.PutVolume(ctx, v)
		}
		if err != nil {
			return err
		}
	}
	i.Volumes, i.Interfaces = nil, nil
	return nil
}

// name makes stable the name of a random thing.
func (c *site) name(random, stable string) { c.stable[random], c.random[stable] = stable, random }

var (
	randomThing = regexp.MustCompile(`\b(?:(?P<id>[a-z]+(?:-attach)?)-[0-9a-f]{17}\b` +
		`|(?P<account>[0-9]{12})\b` +
		`|(?P<ip>172[.-]31[.-][0-9]+[.-][0-9]+\b)(?P<slash>/?)` +
		`|(?P<pub>198[.-]18[.-][01][.-][0-9]+\b)(?P<slash2>/?)` +
		`|(?P<mac>02(?::[0-9a-f]{2}){5})` +
		`|(?P<time>20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{8,12}(?:Z| GMT)))`)
	stableThing = regexp.MustCompile(`\b(?:[a-z]+(?:-attach)?-#[0-9]+|ALICE|BOB|(?:IP|PUB|MAC|TOKEN)#[0-9]+)\b`)
	secretThing = regexp.MustCompile(`<(requestId|RequestID|keyMaterial|keyFingerprint)>[^<]*<`)
	tokenThing  = regexp.MustCompile(`<nextToken>([^<]*)<`)
)

// stableText replaces what is random: the n-th id of a kind becomes i-#n, private
// and public addresses IP#n and PUB#n, and so on.
func (c *site) stableText(s string) string {
	s = secretThing.ReplaceAllString(s, "<$1>…<")
	s = tokenThing.ReplaceAllStringFunc(s, func(m string) string {
		token := strings.TrimSuffix(strings.TrimPrefix(m, "<nextToken>"), "<")
		return "<nextToken>" + c.stableName(token, "TOKEN#") + "<"
	})
	for name, random := range c.random { // in messages
		if strings.HasPrefix(name, "TOKEN#") {
			s = strings.ReplaceAll(s, random, name)
		}
	}
	return randomThing.ReplaceAllStringFunc(s, func(m string) string {
		sub := randomThing.FindStringSubmatch(m)
		group := func(name string) string { return sub[randomThing.SubexpIndex(name)] }
		switch {
		case group("id") != "":
			return c.stableName(m, group("id")+"-#")
		case group("account") != "":
			return c.stableName(m, "ACCOUNT#")
		case group("slash") != "" || group("slash2") != "":
			return m // a prefix
		case group("ip") != "":
			return c.stableName(strings.ReplaceAll(m, "-", "."), "IP#")
		case group("pub") != "":
			return c.stableName(strings.ReplaceAll(m, "-", "."), "PUB#")
		case group("mac") != "":
			return c.stableName(m, "MAC#")
		}
		return "TIME"
	})
}

func (c *site) stableName(random, kind string) string {
	if n, ok := c.stable[random]; ok {
		return n
	}
	c.count[kind]++
	c.name(random, kind+strconv.Itoa(c.count[kind]))
	return c.stable[random]
}

// randomText replaces stable names by what they stand for.
func (c *site) randomText(s string) string {
	return stableThing.ReplaceAllStringFunc(s, func(m string) string {
		if r, ok := c.random[m]; ok {
			return r
		}
		return m
	})
}

// TestScripts runs testdata/*.txt. A script is a list of requests and answers:
// a first line of form parameters as they stand, further lines Name=value that are
// escaped, ----, and the answer up to an empty line. "as bob" before a request
// changes the caller, "only NAME…" shows just those elements of answers from then
// on ("only" alone: all). Lines that start with a word of commands make something happen.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := newSite(t).script(string(text))
			switch {
			case *update:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			case got != string(text):
				t.Errorf("%s differs (run the test with -update and look at the diff):\n%s", file, firstDifference(string(text), got))
			}
		})
	}
}

// commands of scripts besides requests; args follow on the line.
var commands = map[string]func(c *site, args []string) error{
	"settle": func(c *site, _ []string) error { c.settle(); return nil },
	"reopen": func(c *site, _ []string) error {
		if err := c.db.Close(); err != nil {
			return err
		}
		c.open()
		return nil
	},
	"console": func(c *site, args []string) error { c.console = []byte(strings.Join(args, " ")); return nil },
	// forget INSTANCE: control drops the row of a terminated one in time.
	"forget": func(c *site, args []string) error {
		return c.db.Write(c.ctx(), func(tx store.Tx) error {
			i, err := tx.Instance(c.ctx(), c.account["alice"], c.randomText(args[0]))
			if err != nil {
				return err
			}
			return tx.DeleteInstance(c.ctx(), i)
		})
	},
	// impair INSTANCE: its node is not heard of.
	"impair": func(c *site, args []string) error {
		return c.db.Write(c.ctx(), func(tx store.Tx) error {
			i, err := tx.Instance(c.ctx(), c.account["alice"], c.randomText(args[0]))
			if err != nil {
				return err
			}
			i.Impaired, i.StatusSince = true, tx.Now()
			return tx.PutInstance(c.ctx(), i)
		})
	},
	// range ZONE CIDR: the head of the zone brought public addresses
	"range": func(c *site, args []string) error {
		k := cloud.Cluster{Zone: args[0], Head: "head-" + args[0], PublicRange: netip.MustParsePrefix(args[1])}
		return c.db.Write(c.ctx(), func(tx store.Tx) error { return tx.PutCluster(c.ctx(), k) })
	},
	// node NAME ZONE CPUS MEMORY-MIB DISK-GIB; with 0 CPUs it is out of service
	"node": func(c *site, args []string) error {
		n := cloud.Node{Name: args[0], Zone: args[1], Arch: "x86_64", Kind: "sim"}
		if _, err := fmt.Sscan(strings.Join(args[2:], " "), &n.CPUs, &n.MemoryMiB, &n.DiskGiB); err != nil {
			return err
		}
		n.Cordoned = n.CPUs == 0
		return c.db.Write(c.ctx(), func(tx store.Tx) error { return tx.PutNode(c.ctx(), n) })
	},
}

// script runs a script and returns it with the answers that came.
func (c *site) script(text string) string {
	var out bytes.Buffer
	who := "alice"
	var only []string
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		var form []string
		for line := range strings.SplitSeq(block, "\n") {
			word, rest, _ := strings.Cut(line, " ")
			if line == "----" {
				break
			}
			out.WriteString(line + "\n")
			switch do := commands[word]; {
			case strings.HasPrefix(line, "#") || line == "":
			case word == "as":
				who = rest
			case word == "only":
				only = strings.Fields(rest)
			case do != nil:
				if err := do(c, strings.Fields(rest)); err != nil {
					c.t.Fatalf("%s: %v", line, err)
				}
			case len(form) == 0:
				form = append(form, line)
			default:
				name, value, _ := strings.Cut(line, "=")
				form = append(form, name+"="+url.QueryEscape(c.randomText(value)))
			}
		}
		if len(form) > 0 {
			code, body := c.call(who, strings.Join(form, "&"))
			out.WriteString("----\n")
			if code != http.StatusOK {
				fmt.Fprintf(&out, "%d\n", code)
			}
			out.WriteString(pretty(c.stableText(body), only))
		}
		out.WriteString("\n")
	}
	return strings.TrimSpace(out.String()) + "\n"
}

var (
	prolog  = regexp.MustCompile(`^<\?xml[^>]*>\n?`)
	element = regexp.MustCompile(`<[^/>][^>]*[^/]>[^<]*</[^>]*>|<[^>]*>`)
	tagName = regexp.MustCompile(`^</?([^ />]+)`)
)

// pretty puts each element on a line of its own. With only, just the leaves of
// these names, and those of errors, are shown.
func pretty(xml string, only []string) string {
	var b strings.Builder
	depth := 0
	for _, e := range element.FindAllString(prolog.ReplaceAllString(xml, ""), -1) {
		if name := tagName.FindStringSubmatch(e)[1]; len(only) > 0 {
			if slices.Contains(only, name) || name == "Code" || name == "Message" {
				b.WriteString(e + "\n")
			}
			continue
		}
		closing := strings.HasPrefix(e, "</")
		leaf := strings.Count(e, "<") == 2 || strings.HasSuffix(e, "/>")
		if closing {
			depth--
		}
		b.WriteString(strings.Repeat(" ", depth) + e + "\n")
		if !closing && !leaf {
			depth++
		}
	}
	return b.String()
}

// firstDifference shows where two texts part.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			show := func(l []string) string { return strings.Join(l[min(max(i-3, 0), len(l)):min(i+4, len(l))], "\n") }
			return fmt.Sprintf("line %d\nwant:\n%s\ngot:\n%s", i+1, show(w), show(g))
		}
	}
	return ""
}
