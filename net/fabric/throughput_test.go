package fabric_test

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"eucad/net/fabric"
	"eucad/net/link"
)

// cable makes two hosts, numbered from first, with nothing but a cable between
// them.
func cable(t testing.TB, first int) []*host {
	t.Helper()
	needHost(t)
	var out []*host
	for i := first; i < first+2; i++ {
		h := &host{t: t, number: i, addr: ip(fmt.Sprintf("10.0.0.%d", i))}
		run(t, "ip netns add "+h.name())
		t.Cleanup(func() { run(t, "ip netns del "+h.name()) })
		h.ns = mustNS(t, h.name())
		h.opt = fabric.Options{Tunnel: fabric.Tunnel{Addr: h.addr}, PublicPrefix: publicNet}
		out = append(out, h)
	}
	run(t, fmt.Sprintf("ip -n %s link add name eth0 type veth peer name eth0 netns %s", out[0].name(), out[1].name()))
	for _, h := range out {
		h.sh(fmt.Sprintf("ip link set lo up; ip addr add %s/24 dev eth0; ip link set eth0 up", h.addr))
	}
	return out
}

// fastGuest starts a guest of host h, to be plugged by its next Fabric, on a
// cable in place of a tap: that of the other tests goes through this process,
// which would be what is measured.
func fastGuest(t testing.TB, h *host, p fabric.Port) *guest {
	t.Helper()
	ns, err := link.NewNS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	c, err := ns.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Veth("eth0", p.Tap, h.ns, p.MTU); err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, ns: ns, port: p}
	g.sh("ip link set lo up; ip link set eth0 address %s up", p.MAC)
	h.sh(fmt.Sprintf("ip link set %s alias 'eucad %s' up", p.Tap, p.ID))
	return g.static(subnetA)
}

// ownCPU has CPU n do what host h does with what comes by its cable. A cable
// of one kernel leaves that to the CPU of the sender; between two machines it
// can't.
func (h *host) ownCPU(n int) {
	h.sh(fmt.Sprintf("d=$(mktemp -d); mount -t sysfs sysfs $d && for q in $d/class/net/eth0/queues/rx-*; do echo %x >$q/rps_cpus; done; umount $d && rmdir $d", 1<<n))
}

// stay keeps the calling goroutine on CPU n until it ends.
func stay(t testing.TB, n int) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(n)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		t.Error(err)
	}
}

// A stream is a TCP connection whose far end takes all it gets.
type stream struct {
	net.Conn
	buf []byte
}

// newStream connects. The far end works on the CPU cpu, if that is not negative.
func newStream(t testing.TB, from, to *link.NS, addr string, cpu int) *stream {
	t.Helper()
	var l net.Listener
	if err := to.Do(func() (err error) { l, err = net.Listen("tcp4", addr); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &stream{buf: make([]byte, 1<<18)}
	if err := from.Do(func() (err error) { s.Conn, err = net.DialTimeout("tcp4", addr, 5*time.Second); return err }); err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); far.Close() })
	go func() {
		if cpu >= 0 {
			stay(t, cpu)
		}
		buf := make([]byte, 1<<18)
		for {
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
	}()
	return s
}

// rate sends for d. It returns how many Gbit went in a second, and in a second
// of this process's CPUs: other work on the machine changes that less.
func (s *stream) rate(t testing.TB, d time.Duration) (perSecond, perCPU float64) {
	t.Helper()
	start, cpu := time.Now(), cpuTime(t)
	sent := 0
	for time.Since(start) < d {
		n, err := s.Write(s.buf)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	gbit := float64(sent) * 8 / 1e9
	return gbit / time.Since(start).Seconds(), gbit / (cpuTime(t) - cpu).Seconds()
}

// cpuTime is what this process used so far. It has both ends of all
// connections, and the kernel does what lies between in their name, mostly.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTunnelTCP measures TCP from a guest to one on another host, without
// and with a mesh, beside TCP between the hosts themselves. They take turns.
//
// Two hosts have a CPU each, as two machines do; or they share what there is,
// and then one CPU does nearly all the work of both, filters and tunnels too.
func BenchmarkTunnelTCP(b *testing.B) {
	b.Run("cpus=own", func(b *testing.B) {
		if runtime.NumCPU() < 2 {
			b.Skip("needs a CPU for each of two hosts")
		}
		stay(b, 0)
		tunnelTCP(b, 1, func(hosts []*host) {
			for i, h := range hosts {
				h.ownCPU(i)
			}
		})
	})
	b.Run("cpus=shared", func(b *testing.B) { tunnelTCP(b, -1, func([]*host) {}) })
}

func tunnelTCP(b *testing.B, farCPU int, place func(hosts []*host)) {
	plain, meshed, unused := cable(b, 1), cable(b, 3), cable(b, 5) // the last without Fabrics and their filters
	for _, hosts := range [][]*host{plain, meshed, unused} {
		place(hosts)
	}
	guests := func(hosts []*host, mtu int) *stream {
		p, q := port(1, 10), port(1, 11)
		p.MTU, q.MTU = mtu, mtu
		routers := spread(hosts, []fabric.Port{p}, []fabric.Port{q})
		var g [2]*guest
		for i, h := range hosts {
			g[i] = fastGuest(b, h, routers[i].Ports[0])
			h.Close()
			h.open()
			h.apply(routers[i])
		}
		return newStream(b, g[0].ns, g[1].ns, "10.0.0.11:80", farCPU)
	}
	for _, h := range slices.Concat(plain, meshed) {
		h.open()
	}
	meshes := join(b, meshed)
	bare := newStream(b, unused[0].ns, unused[1].ns, "10.0.0.6:80", farCPU)
	tunnel, mesh := guests(plain, 1450), guests(meshed, 1370)
	names := []string{"bare", "tunnel", "mesh"}
	var rates, ratios, costs [3][]float64
	for b.Loop() {
		var rate, perCPU [3]float64
		for i, s := range []*stream{bare, tunnel, mesh} {
			s.rate(b, 50*time.Millisecond) // what another stream left settles
			rate[i], perCPU[i] = s.rate(b, 300*time.Millisecond)
			rates[i] = append(rates[i], rate[i])
			ratios[i] = append(ratios[i], rate[i]/rate[0])
			costs[i] = append(costs[i], perCPU[i]/perCPU[0])
		}
	}
	middle := func(all []float64) float64 {
		slices.Sort(all)
		return all[len(all)/2]
	}
	for i, name := range names {
		b.ReportMetric(middle(rates[i]), name+"-Gbit/s")
		if i > 0 {
			b.ReportMetric(middle(ratios[i]), name+"/bare")
			b.ReportMetric(middle(costs[i]), name+"/bare-per-CPU")
		}
	}
	b.Logf("mesh in %s", meshes[0].Mode())
}
