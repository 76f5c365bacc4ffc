package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"eucad/net/fabric"
	"eucad/net/link"
)

const insideEnv = "EUCAD_TEST_INSIDE"

// TestMain runs the tests of Linux networking in a process with its own host:
// a network namespace, and a mount namespace with its own /run/netns.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(insideEnv) != "" {
		if os.Getenv(insideEnv) != "" {
			if err := ownHost(); err != nil {
				fmt.Fprintln(os.Stderr, "own host:", err)
				os.Exit(1)
			}
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func ownHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("eucad-test", "/run/netns", "tmpfs", 0, ""); err != nil {
		return err
	}
	return exec.Command("ip", "link", "set", "lo", "up").Run()
}

func needHost(t testing.TB) {
	t.Helper()
	if os.Getenv(insideEnv) == "" {
		t.Skip("needs root for network namespaces")
	}
}

// A guest is a machine as the network sees it: it has a port's tap open and
// its own kernel network stack behind it.
type guest struct {
	t    testing.TB
	port fabric.Port
	ns   *link.NS
	far  *os.File // the port's tap, as QEMU would have it
	near *os.File // eth0 of the guest
}

// boot opens the port, starts a guest on its tap and plugs it.
func boot(t testing.TB, f *fabric.Fabric, p fabric.Port) *guest {
	t.Helper()
	if err := f.OpenPort(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	g := power(t, p)
	if err := f.Plug(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	return g
}

// power starts a guest on the tap of its port, which waits in the host's namespace.
func power(t testing.TB, p fabric.Port) *guest {
	t.Helper()
	here, err := link.Here()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	return powerOn(t, here, p)
}

// powerOn is power for a host with the namespace given.
func powerOn(t testing.TB, host *link.NS, p fabric.Port) *guest {
	t.Helper()
	g := &guest{t: t, port: p, far: openTap(t, host, p.Tap)}
	var err error
	if g.ns, err = link.NewNS(); err != nil {
		t.Fatal(err)
	}
	err = g.ns.Do(func() (err error) {
		g.near, err = link.OpenTap("eth0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	g.sh("ip link set lo up && ip link set eth0 address %s mtu %d && sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && ip link set eth0 up", p.MAC, p.MTU)
	go relay(g.near, g.far)
	go relay(g.far, g.near)
	t.Cleanup(g.off)
	return g
}

// relay carries frames until one end is closed. A tap that is moved is down
// for a moment, and frames for it are lost, as on any cable.
func relay(from, to *os.File) {
	buf := make([]byte, 65536)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		if _, err := to.Write(buf[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

func (g *guest) off() {
	g.far.Close()
	g.near.Close()
	g.ns.Close()
}

// static configures the guest's address by hand.
func (g *guest) static(subnet netip.Prefix) *guest {
	g.t.Helper()
	g.sh("ip addr add %s/%d dev eth0 && ip route add default via %s", g.port.Addr, subnet.Bits(), subnet.Masked().Addr().Next())
	return g
}

// sh runs a command in the guest.
func (g *guest) sh(format string, args ...any) string {
	g.t.Helper()
	out, err := g.try(format, args...)
	if err != nil {
		g.t.Fatalf("%s: %v\n%s", fmt.Sprintf(format, args...), err, out)
	}
	return out
}

func (g *guest) try(format string, args ...any) (string, error) {
	var out []byte
	err := g.ns.Do(func() (err error) {
		out, err = exec.Command("sh", "-c", fmt.Sprintf(format, args...)).CombinedOutput()
		return err
	})
	return string(out), err
}

// ping reports whether the address answers.
func (g *guest) ping(a string) bool {
	_, err := g.try("busybox ping -c 1 -W 1 %s", a)
	return err == nil
}

// serve answers TCP connections to the port with the address they come from.
func (g *guest) serve(port int) *guest {
	g.t.Helper()
	var l net.Listener
	err := g.ns.Do(func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	serveAddr(g.t, l)
	return g
}

func serveAddr(t testing.TB, l net.Listener) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			io.WriteString(c, host)
			c.Close()
		}
	}()
}

const patience = 700 * time.Millisecond // for what must not answer

// ask connects and returns what the other side says.
func (g *guest) ask(addr string) (string, error) {
	var s string
	err := g.ns.Do(func() (err error) { s, err = askFrom(addr); return err })
	return s, err
}

func askFrom(addr string) (string, error) {
	c, err := net.DialTimeout("tcp4", addr, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	b, err := io.ReadAll(c)
	return string(b), err
}

// reaches fails the test unless the connection says want.
func (g *guest) reaches(addr, want string) {
	g.t.Helper()
	if got, err := g.ask(addr); err != nil || got != want {
		g.t.Errorf("%s → %s: %q, %v; want %q", g.port.Addr, addr, got, err, want)
	}
}

func (g *guest) blocked(addr string) {
	g.t.Helper()
	if got, err := g.ask(addr); err == nil {
		g.t.Errorf("%s → %s got through: %q", g.port.Addr, addr, got)
	}
}

// get fetches a page of the metadata service.
func (g *guest) get(method, url string) (string, error) {
	var body string
	err := g.ns.Do(func() error {
		tr := &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			var c net.Conn
			err := g.ns.Do(func() (err error) { c, err = net.DialTimeout(network, addr, patience); return err })
			return c, err
		}}
		req, err := http.NewRequest(method, url, nil)
		if err != nil {
			return err
		}
		res, err := (&http.Client{Transport: tr, Timeout: 3 * time.Second}).Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		body = string(b)
		return err
	})
	return body, err
}

// run runs a command on the host.
func run(t testing.TB, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

var (
	publicNet = netip.MustParsePrefix("198.51.100.0/24")
	subnetA   = netip.MustParsePrefix("10.0.0.0/24")
)

func newFabric(t testing.TB, o fabric.Options) *fabric.Fabric {
	t.Helper()
	if !o.PublicPrefix.IsValid() {
		o.PublicPrefix = publicNet
	}
	f, err := fabric.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Apply(context.Background(), fabric.Config{}); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
		f.Close()
	})
	return f
}

func apply(t testing.TB, f *fabric.Fabric, routers ...fabric.Router) {
	t.Helper()
	if err := f.Apply(t.Context(), fabric.Config{Routers: routers}); err != nil {
		t.Fatal(err)
	}
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func everybody() []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)} }

// vpc returns a router with the subnet 10.0.0.0/24, and a group "sg-open" that
// sends anywhere and receives TCP port 80 from anybody.
func vpc(id string, ports ...fabric.Port) fabric.Router {
	r := fabric.Router{ID: id, VNI: 1, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Domain: "az1.eucad.internal",
		Subnets: []fabric.Subnet{{ID: "subnet-a", Prefix: subnetA}}, Ports: ports,
		Groups: []fabric.Group{{ID: "sg-open",
			Egress:  []fabric.Rule{{Protocol: -1, From: -1, To: -1, Prefixes: everybody()}},
			Ingress: []fabric.Rule{{Protocol: 6, From: 80, To: 80, Prefixes: everybody()}},
		}},
	}
	for _, p := range ports {
		r.Groups[0].Members = append(r.Groups[0].Members, p.Addr)
		r.Names = append(r.Names, fabric.Name{Name: p.Hostname + "." + r.Domain, Addr: p.Addr})
	}
	return r
}

// port returns a port with the address 10.0.0.n in vpc number v.
func port(v, n int) fabric.Port {
	id := fmt.Sprintf("eni-%05x%05x0000000", v, n)
	return fabric.Port{ID: id, Tap: fabric.TapName(id), MAC: fmt.Sprintf("02:00:00:00:%02x:%02x", v, n), Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}),
		Subnet: "subnet-a", Groups: []string{"sg-open"}, Hostname: fmt.Sprintf("ip-10-0-0-%d", n), MTU: 1400}
}

func mustNS(t testing.TB, name string) *link.NS {
	t.Helper()
	ns, err := link.OpenNS(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// received returns how many packets came in by the guest's eth0.
func (g *guest) received() string {
	return g.sh("ip -s -j link show eth0 | sed 's/.*\"rx\":{\"bytes\":[0-9]*,\"packets\":\\([0-9]*\\).*/\\1/'")
}

func (g *guest) dial(addr string, wait time.Duration) (net.Conn, error) {
	var c net.Conn
	err := g.ns.Do(func() (err error) { c, err = net.DialTimeout("tcp4", addr, wait); return err })
	return c, err
}

// echo serves an echo on port 80 of the guest.
func (g *guest) echo() {
	g.t.Helper()
	var l net.Listener
	err := g.ns.Do(func() (err error) { l, err = net.Listen("tcp4", ":80"); return err })
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

// openTap opens a tap of the host with the namespace given.
func openTap(t testing.TB, host *link.NS, name string) *os.File {
	t.Helper()
	var f *os.File
	if err := host.Do(func() (err error) { f, err = link.OpenTap(name); return err }); err != nil {
		t.Fatal(err)
	}
	return f
}

// receive listens on a UDP port of the guest. The function it returns reports
// whether something came.
func (g *guest) receive(port int) func() bool {
	g.t.Helper()
	var c net.PacketConn
	err := g.ns.Do(func() (err error) { c, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port)); return err })
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	return func() bool {
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, _, err := c.ReadFrom(make([]byte, 2000))
		return err == nil
	}
}

// vxlanFrame returns what a host would send in UDP to another whose tunnel
// address is to: a UDP packet between guests.
func vxlanFrame(vni uint32, to netip.Addr, src, dst string, port uint16) []byte {
	s, d, h := ip(src).As4(), ip(dst).As4(), to.As4()
	b := []byte{8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}
	b = append(b, 0x06, 0xec, h[0], h[1], h[2], h[3], 0x06, 0xec, 9, 9, 9, 9, 8, 0)
	iph := []byte{0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0}
	iph = append(append(iph, s[:]...), d[:]...)
	sum := uint32(0)
	for i := 0; i < len(iph); i += 2 {
		sum += uint32(iph[i])<<8 | uint32(iph[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum = ^(sum + sum>>16)
	iph[10], iph[11] = byte(sum>>8), byte(sum)
	return append(append(b, iph...), 0x30, 0x39, byte(port>>8), byte(port), 0, 12, 0, 0, 'e', 'v', 'i', 'l')
}
