package e2e

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"golang.org/x/sys/unix"

	"eucad/api/sigv4/sigv4test"
	"eucad/store"
	"eucad/store/cloud"
)

// api returns a client of the EC2 API of the machine, whose network is not ours.
func (h *host) api() func(form string) []byte {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.Pid()))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { ns.Close() })
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and never unlock: the thread ends in the other namespace
			if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
				c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			}
		}()
		<-done
		return c, err
	}}}
	env := map[string]string{}
	for _, kv := range h.env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	return func(form string) []byte {
		h.t.Helper()
		form = "Version=2016-11-15&" + form
		r, err := sigv4test.Post(url, form, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
		if err != nil {
			h.t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			h.t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			h.t.Fatalf("%s: %s %v\n%s", form, resp.Status, err, body)
		}
		return body
	}
}

// libvirt opens a connection to the machine's libvirtd.
func (h *host) libvirt() *golibvirt.Libvirt {
	h.t.Helper()
	l := golibvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(h.Socket)))
	if err := l.ConnectToURI(golibvirt.QEMUSystem); err != nil {
		h.t.Fatal(err)
	}
	return l
}

// BenchmarkLaunch measures a launch from the RunInstances call until libvirt
// says that the domain has started, and an end from the call until it says
// that the domain is gone, through everything: HTTP, store, loop, node,
// network, libvirt. The floor is what cannot be saved: qemu-img's overlay and
// a bare DomainCreateXML of the same domain, and a bare DomainDestroy. They
// take turns; x-floor and x-destroy are ratios of the medians.
func BenchmarkLaunch(b *testing.B) {
	h := newHost(b)
	call, l := h.api(), h.libvirt()
	image := h.ok(h.eucad, "image", "import", "--dir", h.dir, "--name", "tiny", h.tiny)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := h.libvirt().LifecycleEvents(ctx)
	if err != nil {
		b.Fatal(err)
	}
	await := func(name string, event golibvirt.DomainEventType) {
		for limit := time.After(patience); ; {
			select {
			case e := <-events:
				if e.Dom.Name == name && e.Event == int32(event) {
					return
				}
			case <-limit:
				b.Fatalf("%s: no event %d", name, event)
			}
		}
	}
	const run = "Action=RunInstances&InstanceType=t2.nano&MinCount=1&MaxCount=1&ImageId="
	one := regexp.MustCompile(`<instanceId>(i-[0-9a-f]+)`)
	var spec string // of a domain
	ours := func(keep bool) (start, stop time.Duration) {
		begin := time.Now()
		id := string(one.FindSubmatch(call(run + image))[1])
		await(id, golibvirt.DomainEventStarted)
		start = time.Since(begin)
		call("Action=DescribeInstances&InstanceId.1=" + id) // holds until it is running
		if keep {
			dom, err := l.DomainLookupByName(id)
			if err != nil {
				b.Fatal(err)
			}
			if spec, err = l.DomainGetXMLDesc(dom, golibvirt.DomainXMLSecure); err != nil {
				b.Fatal(err)
			}
		}
		begin = time.Now()
		call("Action=TerminateInstances&InstanceId.1=" + id)
		await(id, golibvirt.DomainEventStopped)
		stop = time.Since(begin)
		h.eventually(id+" has gone", func() error {
			if _, err := os.Stat(filepath.Join(h.dir, "node/machines", id)); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("its directory is there: %w", err)
			}
			return nil
		})
		return start, stop
	}
	ours(true)
	bare := floor{b: b, h: h, l: l, image: filepath.Join(h.dir, "images")}
	bare.prepare(spec)
	bare.once()

	var with, without struct{ start, stop []time.Duration }
	for n := 0; b.Loop(); n++ {
		for _, mine := range []bool{n%2 == 0, n%2 != 0} {
			if mine {
				start, stop := ours(false)
				with.start, with.stop = append(with.start, start), append(with.stop, stop)
			} else {
				start, stop := bare.once()
				without.start, without.stop = append(without.start, start), append(without.stop, stop)
			}
		}
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(median(with.start)), "launch-ms")
	b.ReportMetric(float64(median(with.start))/float64(median(without.start)), "x-floor")
	b.ReportMetric(ms(median(with.stop)), "end-ms")
	b.ReportMetric(float64(median(with.stop))/float64(median(without.stop)), "x-destroy")
}

// A floor makes domains as eucad does, and does nothing else.
type floor struct {
	b     *testing.B
	h     *host
	l     *golibvirt.Libvirt
	image string // directory, then the base
	disk  string
	spec  string
}

// prepare turns the description of a domain of eucad's into one of the floor's.
func (f *floor) prepare(spec string) {
	var dom struct {
		Name string `xml:"name"`
		UUID string `xml:"uuid"`
		Tap  struct {
			Dev string `xml:"dev,attr"`
		} `xml:"devices>interface>target"`
		Disk struct {
			File string `xml:"file,attr"`
		} `xml:"devices>disk>source"`
		Base struct {
			File string `xml:"file,attr"`
		} `xml:"devices>disk>backingStore>source"`
	}
	if err := xml.Unmarshal([]byte(spec), &dom); err != nil {
		f.b.Fatal(err)
	}
	f.image, f.disk = dom.Base.File, filepath.Join(f.h.Dir, "floor", "disk.qcow2")
	if err := os.MkdirAll(filepath.Dir(f.disk), 0o711); err != nil {
		f.b.Fatal(err)
	}
	f.h.ok("ip", "tuntap", "add", "tapfloor", "mode", "tap")
	f.h.ok("ip", "link", "set", "tapfloor", "up")
	f.spec = strings.NewReplacer(
		dom.Disk.File, f.disk, filepath.Dir(dom.Disk.File), filepath.Dir(f.disk), dom.Tap.Dev, "tapfloor",
		dom.Name, "floor", dom.UUID, "f1000000-0000-4000-8000-000000000000",
	).Replace(spec)
	f.spec = regexp.MustCompile(`(?s)<seclabel type='dynamic'.*?</seclabel>`).ReplaceAllString(f.spec, "")
}

func (f *floor) once() (start, stop time.Duration) {
	begin := time.Now()
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", f.image, "--", f.disk, "1G").CombinedOutput()
	if err != nil {
		f.b.Fatalf("%v %s", err, out)
	}
	dom, err := f.l.DomainCreateXML(f.spec, 0)
	if err != nil {
		f.b.Fatal(err)
	}
	start = time.Since(begin)
	begin = time.Now()
	if err := f.l.DomainDestroy(dom); err != nil {
		f.b.Fatal(err)
	}
	stop = time.Since(begin)
	os.Remove(f.disk)
	return start, stop
}

// BenchmarkStart measures how soon eucad answers after it was started on a
// store with 10,000 instances, and what memory it then holds idle.
func BenchmarkStart(b *testing.B) {
	h := newHost(b)
	h.stop(unix.SIGTERM)
	fill(b, filepath.Join(h.dir, "eucad.db"), 10_000)
	var took []time.Duration
	for b.Loop() {
		seen := h.log.Len()
		begin := time.Now()
		h.launch()
		for !strings.Contains(h.log.String()[seen:], "msg=ready") {
			if time.Since(begin) > patience {
				b.Fatal(h.log.String())
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(begin))
		h.eventually("eucad answers", func() error { _, err := h.try(h.eucad, "account", "list", "--dir", h.dir); return err })
		h.stop(unix.SIGTERM)
	}
	h.start()
	time.Sleep(5 * time.Second) // idle, as the name says
	status := h.ok("sh", "-c", "cat /proc/$(pgrep -x -f '"+h.eucad+" --dir .*')/status")
	kib, _ := strconv.Atoi(regexp.MustCompile(`VmRSS:\s+(\d+)`).FindStringSubmatch(status)[1])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(median(took).Microseconds())/1000, "ready-ms")
	b.ReportMetric(float64(kib)/1024, "idle-MiB")
	if fi, err := os.Stat(h.eucad); err == nil {
		b.ReportMetric(float64(fi.Size())/(1<<20), "binary-MiB")
	}
}

// fill adds n stopped instances to a store.
func fill(b *testing.B, file string, n int) {
	db, err := store.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	err = db.Write(ctx, func(tx store.Tx) error {
		all, err := tx.Accounts(ctx)
		if err != nil {
			return err
		}
		for range n {
			now := tx.Now()
			i := cloud.Instance{ID: cloud.NewID("i"), AccountID: all[0].ID, ReservationID: cloud.NewID("r"), State: cloud.Stopped, Since: now, Launched: now, Created: now,
				Type: "t2.nano", CPUs: 1, MemoryMiB: 512, Arch: "x86_64", Boot: 1}
			if err := tx.PutInstance(ctx, i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
