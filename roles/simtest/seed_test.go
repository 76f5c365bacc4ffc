package simtest

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"eucad/roles/control"
	"eucad/store"
	"eucad/store/cloud"
)

var (
	seed  = flag.Uint64("seed", 0, "play this seed alone, and tell what happens")
	steps = flag.Int("steps", 300, "steps of a seed before all is mended")
)

const (
	seeds      = 8
	slowSeeds  = 200              // with EUCAD_SLOW
	leaseEvery = 3 * time.Second  // as in roles
	settled    = 15 * time.Minute // in which everything must come to an end: the longest deadline, and some
	launchTime = 10 * time.Minute // as in roles/control
	longWait   = 12 * time.Minute // in which deadlines pass
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 { // broken hosts complain, as they should
		slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	}
	os.Exit(m.Run())
}

// TestSeeds plays clouds that fail in ways which a seed decides. Time is
// virtual, ids and addresses are the seed's, and everything is driven by one
// goroutine that waits between steps until all others have nothing to do, so
// that a seed replays as far as the scheduler lets it. One processor makes the
// most of that, and keeps clear of https://go.dev/issue/78156: with -race and
// several of them, timers of a bubble crash the race detector.
func TestSeeds(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	from, n := uint64(1), uint64(seeds)
	switch {
	case *seed != 0:
		from, n = *seed, 1
	case os.Getenv("EUCAD_SLOW") != "":
		n = slowSeeds
	}
	for s := from; s < from+n; s++ {
		t.Run(fmt.Sprint("seed=", s), func(t *testing.T) {
			dir := t.TempDir()
			cryptotest.SetGlobalRandom(t, s)
			synctest.Test(t, func(t *testing.T) {
				newWorld(t, s, dir).play(*steps)
			})
			if t.Failed() {
				t.Logf("to replay: go test ./roles/simtest -run TestSeeds -seed %d -v", s)
			}
		})
	}
}

// A world is a cloud, its client and its bad luck.
type world struct {
	t      *testing.T
	seed   uint64
	rand   *rand.Rand // of the last throw
	throws uint64
	file   string
	mu     sync.Mutex // of front, for hosts' signs of life
	front  *frontEnd
	clock  wallClock // of the front end
	heads  *heads
	hosts  []*host
	zones  []string // that have hosts
	// network says that volumes are on the network, so that instances start
	// elsewhere when their node is lost. Half of the seeds have that.
	network bool
	// hasty says that messages move while others are still at work, so that more
	// comes between them, and less of it replays. A quarter of the seeds is.
	hasty  bool
	client *client
	late   []lateReport // that are delivered again
	calm   bool         // nothing fails any more
	start  time.Time
	broken bool
	stays  map[string]stay // by instance

	checked    table // what check last read
	checkedRev uint64
}

type lateReport struct {
	h    *host
	data []byte
	due  time.Time
}

func newWorld(t *testing.T, seed uint64, dir string) *world {
	w := &world{t: t, seed: seed, file: dir + "/eucad.db", start: time.Now()}
	w.throw()
	w.stays = map[string]stay{}
	w.network, w.hasty, w.heads = seed/2%2 == 1, seed%4 == 0, newHeads(seed)
	w.openFrontEnd()
	w.client = &client{w: w, tokens: map[string]string{}, asked: map[string]string{}, rooted: map[string]bool{}}
	var rows []cloud.Node
	for n := range 3 + w.rand.IntN(4) {
		row := cloud.Node{Name: fmt.Sprint("n", n), Zone: zones[n%(2+int(seed%2))], Arch: "x86_64", Kind: "sim", Seen: time.Now(),
			Net: cloud.Net{Addr: fmt.Sprintf("10.9.0.%d:8774", n+1), Tunnel: netip.AddrFrom4([4]byte{10, 9, 0, byte(n + 1)})}}
		row.SetHost(cloud.Capacity{CPUs: 4, MemoryMiB: 8192, DiskGiB: 40}, cloud.Overcommit{CPU: 2, Memory: 1, Disk: 1})
		rows = append(rows, row)
		w.hosts = append(w.hosts, newHost(w, row, dir))
	}
	w.front.addNodes(rows, own)
	for _, h := range w.hosts {
		if w.heads.of(h.row.Zone) == nil {
			h.head = true // see addNodes
			w.zones = append(w.zones, h.row.Zone)
			w.heads.start(h.row.Zone)
		}
	}
	for _, h := range w.hosts {
		h.boot()
		h.dial()
	}
	return w
}

func (w *world) openFrontEnd() {
	volumes := cloud.PoolNode
	if w.network {
		volumes = cloud.PoolNetwork
	}
	f := openFrontEnd(w.t, w.file, pool, 2, volumes, w.heads, store.WithClock(w.clock.now))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.front = f
}

func (w *world) control() *control.Control {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.front.control
}

// play lets the cloud live for so many steps, mends all, and looks whether
// everything came to its end.
func (w *world) play(steps int) {
	defer w.end()
	for range steps {
		w.step()
		w.check()
		if w.broken {
			return
		}
	}
	w.logf("--- all is mended")
	w.calm = true
	w.heads.mu.Lock()
	w.heads.calm, w.heads.cut = true, false
	w.heads.mu.Unlock()
	w.heads.volumes.SetDown(nil)
	for _, zone := range w.zones {
		if w.heads.of(zone) == nil {
			w.heads.start(zone)
		}
	}
	for _, h := range w.hosts {
		w.addNode(h)
		h.mend()
	}
	w.settle()
	w.checkEnd()
	w.client.endAll()
	w.settle()
	w.checkEmpty()
	w.client.launchAnew()
	w.settle()
	w.checkEnd()
}

// settle lets everything come to its end.
func (w *world) settle() {
	for end, tick := time.Now().Add(settled), 100*time.Millisecond; time.Now().Before(end); tick = min(tick*5/4, 10*time.Second) {
		time.Sleep(tick)
		w.carry()
		synctest.Wait()
	}
	w.check()
}

func (w *world) end() {
	for _, h := range w.hosts {
		if h.agent != nil {
			h.kill()
		}
		if err := h.driver.Close(); err != nil {
			w.t.Error(err)
		}
	}
	w.front.end()
}

// throw has chance begin anew, by the seed and how often that was done, so that
// what one step or one host makes of it changes nothing for the next.
func (w *world) throw() {
	w.rand = rand.New(rand.NewPCG(w.seed, w.throws))
	w.throws++
}

// step does one thing, lets some time pass, and messages with it.
func (w *world) step() {
	w.throw()
	h := w.hosts[w.rand.IntN(len(w.hosts))]
	switch n := w.rand.IntN(100); {
	case n < 45:
		w.client.step()
	case n < 50:
		w.guestEnds(h)
	case n < 55:
		h.driver.SetDelays(w.upTo(5*time.Second), w.upTo(2*time.Second)<<(w.rand.IntN(2)*6)) // some guests do not shut down in time
	case n < 58:
		h.driver.FailStarts(1+w.rand.IntN(2), []error{errors.New("simulated failure"), syscall.ENOSPC}[w.rand.IntN(2)])
	case n < 62:
		if h.cut.Load() && w.rand.IntN(2) == 0 {
			h.alone.Store(true)
			w.logf("%s cut off from its head too", h.row.Name)
			break
		}
		cut := !h.cut.Load()
		h.cut.Store(cut)
		h.alone.Store(cut && w.rand.IntN(3) > 0)
		w.logf("%s cut off: %v, from its head too: %v", h.row.Name, cut, h.alone.Load())
		if cut && w.rand.IntN(2) == 0 { // else the connection looks alive
			h.hangUp()
		}
	case n < 66:
		w.crashAgent(h, false)
	case n < 68:
		w.crashAgent(h, true)
	case n < 72:
		if h.agent == nil {
			h.boot()
		}
	case n < 74:
		w.restartFrontEnd()
	case n < 75:
		w.pass([]time.Duration{time.Minute, longWait}[w.rand.IntN(2)])
	case n < 78 && w.network:
		w.headFails(w.zones[w.rand.IntN(len(w.zones))])
	case n < 80 && w.network:
		w.pass(w.upTo(90 * time.Second))
	case n < 83:
		w.setClock(h)
	case n < 87:
		w.networkFails(h)
	case n < 90:
		w.diskFails(h)
	case n < 92:
		h.dialAgain()
	case n < 94:
		w.cordon(h)
	case n < 96:
		w.removeNode(h)
	case n < 97:
		w.addNode(h)
	case n < 98:
		w.moveHead(h)
	case n < 100:
		w.client.cutOff()
	}
	w.rest()
	w.carry()
	if w.rand.IntN(2) == 0 {
		synctest.Wait()
		w.carry()
	}
	time.Sleep(w.upTo(time.Second) >> w.rand.IntN(8))
	synctest.Wait()
}

// rest lets all others do what they have to, unless the seed is hasty.
func (w *world) rest() {
	if !w.hasty {
		synctest.Wait()
	}
}

// pass lets time pass, with what is broken staying so.
func (w *world) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end) && !w.broken; {
		time.Sleep(w.upTo(5 * time.Second))
		w.carry()
		synctest.Wait()
		w.check()
	}
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rand.Int64N(int64(d))) }

// chance is true once in n times, while things may fail.
func (w *world) chance(n int) bool { return !w.calm && w.rand.IntN(n) == 0 }

func (w *world) logf(format string, args ...any) {
	if *seed != 0 {
		w.t.Logf("%9.3f "+format, append([]any{time.Since(w.start).Seconds()}, args...)...)
	}
}

func (w *world) failf(format string, args ...any) {
	w.t.Helper()
	w.broken = true
	w.t.Errorf(format, args...)
}
