package simtest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"eucad/hyper"
	"eucad/hyper/sim"
	netsim "eucad/net/sim"
	"eucad/roles/node"
	"eucad/store"
	"eucad/store/cloud"
)

// BenchmarkScale raises one front end with many simulated nodes and instances
// in one process, and measures it at that size:
//
//	MiB       resident memory of the process, nodes and their machines included
//	ms/launch median of RunInstances, durable
//	ms/rule   median from a change of a security group until the networks of
//	          all nodes with a member have it
//
// It has 50 nodes and 2,000 instances; with EUCAD_SCALE=1000, as scripts/bench
// sets it, 1,000 nodes and 100,000 instances, which takes long. A tenth of the
// nodes has a (simulated) network: one VPC with members on all of them.
func BenchmarkScale(b *testing.B) {
	nodes, each := 50, 40
	if scale := os.Getenv("EUCAD_SCALE"); scale != "" {
		var err error
		if nodes, err = strconv.Atoi(scale); err != nil {
			b.Fatal(err)
		}
		each = 100
	}
	s := newScale(b, nodes, each*nodes)
	var launches, rules []time.Duration
	for n := 0; b.Loop(); n++ { // b.N would raise the cloud twice
		for range 10 {
			launches = append(launches, s.launch(s.front.accounts[n%(len(s.front.accounts)-1)], zones[0], 1))
		}
		rules = append(rules, s.changeRule(1000+n))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(launches), "ms/launch")
	b.ReportMetric(median(rules), "ms/rule")
	b.ReportMetric(float64(resident(b)), "MiB")
}

// A scale is a cloud in real time, without failures.
type scale struct {
	b     *testing.B
	front *frontEnd
	nets  []*netsim.Network
	group string // of the VPC that has a network
}

// perAccount is how many instances an account has: its subnet has 4,091 addresses.
const perAccount = 2000

func newScale(b *testing.B, nodes, instances int) *scale {
	accounts := instances/perAccount + 1 // the last one is the one with a network
	s := &scale{b: b, front: openFrontEnd(b, storeFile(b), netip.Prefix{}, accounts, cloud.PoolNode, nil)}
	ctx, cancel := context.WithCancel(context.Background())
	var ended []chan error
	b.Cleanup(func() {
		cancel()
		for _, done := range ended {
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
		s.front.end()
	})
	var rows []cloud.Node
	agents := map[string]*node.Agent{}
	networked := nodes / 10
	for n := range nodes {
		row := cloud.Node{Name: fmt.Sprintf("n%04d", n), Zone: zones[0], Arch: "x86_64", Kind: "sim", Seen: time.Now(),
			Net: cloud.Net{Tunnel: netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)})}}
		row.SetHost(cloud.Capacity{CPUs: 4096, MemoryMiB: 16 << 20, DiskGiB: 1 << 20}, cloud.Overcommit{CPU: 1, Memory: 1, Disk: 1})
		driver, err := sim.New(sim.Options{Host: hyper.Host{CPUs: 4096}})
		if err != nil {
			b.Fatal(err)
		}
		opt := node.Options{Name: row.Name, Driver: driver, Dir: "/sim", Report: s.front.control.Report,
			Image: func(_ context.Context, hash string) (string, error) { return "/sim/" + hash, nil }}
		if n < networked {
			row.Zone = zones[1]
			net := netsim.New()
			s.nets, opt.Network = append(s.nets, net), net
		}
		agents[row.Name] = node.New(opt)
		rows = append(rows, row)
	}
	s.front.addNodes(rows, nil)
	for n, row := range rows {
		a, done := agents[row.Name], make(chan error, 1)
		ended = append(ended, done)
		go func() { done <- a.Run(ctx) }()
		s.front.control.Join(row.Name, a, n < networked)
	}
	last := s.front.accounts[accounts-1]
	for left := min(perAccount, 10*networked); left > 0; left -= 100 {
		s.launch(last, zones[1], min(left, 100))
	}
	for left, n := instances-10*networked, 0; left > 0; left, n = left-100, n+1 {
		s.launch(s.front.accounts[n%(accounts-1)], zones[0], min(left, 100))
	}
	s.settle()
	s.front.read(func(ctx context.Context, rx store.Rx) error {
		ns, err := rx.Interfaces(ctx, last)
		s.group = ns[0].Groups[0]
		return err
	})
	return s
}

// launch starts so many instances and returns how long the call took.
func (s *scale) launch(account, zone string, count int) time.Duration {
	s.b.Helper()
	start := time.Now()
	code, body := s.front.call(account, "RunInstances", "ImageId", s.front.image, "InstanceType", "t2.nano",
		"MinCount", strconv.Itoa(count), "MaxCount", strconv.Itoa(count), "Placement.AvailabilityZone", zone)
	if code != 200 {
		s.b.Fatalf("%d %s", code, body)
	}
	return time.Since(start)
}

// settle waits until all instances run.
func (s *scale) settle() {
	s.until(10*time.Minute, time.Second, func() (rest bool) { // it reads them all
		s.front.read(func(ctx context.Context, rx store.Rx) error {
			moving, err := rx.InstancesMoving(ctx)
			rest = len(moving) == 0
			return err
		})
		return rest
	})
}

func (s *scale) until(limit, every time.Duration, is func() bool) {
	s.b.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(every) {
		if time.Now().After(end) {
			s.b.Fatal("it does not come to pass")
		}
	}
}

// changeRule allows a port, and returns how long it took until all networks do.
func (s *scale) changeRule(port int) time.Duration {
	s.b.Helper()
	start := time.Now()
	code, body := s.front.call(s.front.accounts[len(s.front.accounts)-1], "AuthorizeSecurityGroupIngress", "GroupId", s.group,
		"IpPermissions.1.IpProtocol", "tcp", "IpPermissions.1.FromPort", strconv.Itoa(port), "IpPermissions.1.ToPort", strconv.Itoa(port),
		"IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8")
	if code != 200 {
		s.b.Fatalf("%d %s", code, body)
	}
	for _, net := range s.nets {
		s.until(time.Minute, time.Millisecond, func() bool { return s.allows(net, port) })
	}
	return time.Since(start)
}

func (s *scale) allows(net *netsim.Network, port int) bool {
	for _, r := range net.Config().Routers {
		for _, g := range r.Groups {
			for _, rule := range g.Ingress {
				if g.ID == s.group && rule.From == port {
					return true
				}
			}
		}
	}
	return false
}

// median returns that of all, in milliseconds.
func median(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2].Microseconds()) / 1000
}

// resident returns the memory of this process, in MiB.
func resident(b *testing.B) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kib, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
			if err != nil {
				b.Fatal(err)
			}
			return kib >> 10
		}
	}
	b.Fatal("the kernel does not say")
	return 0
}
