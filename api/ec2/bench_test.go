package ec2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"eucad/api/query"
	"eucad/api/sigv4"
	"eucad/api/sigv4/sigv4test"
	"eucad/store"
	"eucad/store/cloud"
)

const benchKey, benchSecret = "AKIABENCHBENCHBENCH1", "secret"

// signed returns a POST of form to u, signed as the AWS CLI signs.
func signed(tb testing.TB, u, form string) *http.Request {
	r, err := sigv4test.Post(u, form, benchKey, benchSecret)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// benchSite returns a site with n instances of alice's behind the real signature check.
func benchSite(b *testing.B, n int) (*site, http.Handler) {
	c := newSite(b)
	zones := []string{"test-1a", "test-1b", "test-1c"}
	c.write(func(tx store.Tx) error {
		for _, z := range zones {
			big := cloud.Node{Name: "big-" + z, Zone: z, Arch: "x86_64", Kind: "sim", CPUs: 1 << 24, MemoryMiB: 1 << 40, DiskGiB: 1 << 40}
			if err := tx.PutNode(c.ctx(), big); err != nil {
				return err
			}
		}
		return tx.AddMissingSubnets(c.ctx(), c.account["alice"], zones)
	})
	c.srv.Cfg.PublicPool, c.srv.Cfg.Zones = netip.MustParsePrefix("10.0.0.0/8"), func() []string { return zones }
	for done := 0; done < n; done += 1000 {
		zone := zones[done/4000] // a default subnet has 4,091 addresses
		c.must(fmt.Sprintf("Action=RunInstances&ImageId=ami-#1&InstanceType=t2.nano&Placement.AvailabilityZone=%[2]s&MinCount=%[1]d&MaxCount=%[1]d", min(n-done, 1000), zone))
	}
	c.settle()
	c.name(firstInstance(c), "i-#one")
	v := &sigv4.Verifier{Key: func(context.Context, string) (sigv4.Credential, error) {
		return sigv4.Credential{Secret: benchSecret, AccountID: c.account["alice"]}, nil
	}}
	return c, &query.Handler{Services: []*query.Service{c.srv.Service()}, PageKey: []byte("pages"), Verify: v.Verify}
}

func firstInstance(c *site) (id string) {
	if err := c.db.Read(c.ctx(), func(rx store.Rx) error {
		list, err := rx.Instances(c.ctx(), c.account["alice"])
		if len(list) > 0 {
			id = list[0].ID
		}
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	return id
}

// BenchmarkDescribeInstances compares describing instances, signature and
// filters included, with a bare handler that returns the same bytes. The two
// take turns. ratio is bare time by ours: 1 is as fast as bare.
func BenchmarkDescribeInstances(b *testing.B) {
	for _, n := range []int{20, 1000} {
		for _, filter := range []string{"", "&Filter.1.Name=instance-state-name&Filter.1.Value.1=running&Filter.2.Name=vpc-id&Filter.2.Value.1=vpc-*"} {
			b.Run(fmt.Sprintf("n=%d/filters=%v", n, filter != ""), func(b *testing.B) {
				_, handler := benchSite(b, n)
				compare(b, handler, "Action=DescribeInstances&Version=2016-11-15"+filter)
			})
		}
	}
}

// compare runs a call against ours and against a bare handler, in turns.
func compare(b *testing.B, handler http.Handler, form string) {
	ours := httptest.NewServer(handler)
	defer ours.Close()
	req := signed(b, ours.URL, form)
	want := do(b, req, form)
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
		w.Write(want)
	}))
	defer bare.Close()
	bareReq := signed(b, bare.URL, form)
	var tOurs, tBare time.Duration
	b.SetBytes(int64(len(want)))
	for b.Loop() {
		start := time.Now()
		do(b, req, form)
		mid := time.Now()
		do(b, bareReq, form)
		tOurs, tBare = tOurs+mid.Sub(start), tBare+time.Since(mid)
	}
	b.ReportMetric(float64(tBare)/float64(tOurs), "ratio")
	b.ReportMetric(float64(tOurs.Microseconds())/float64(b.N), "µs/describe")
}

func do(tb testing.TB, r *http.Request, form string) []byte {
	r.Body = io.NopCloser(strings.NewReader(form))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		tb.Fatalf("%s: %s, %v\n%.1000s", form, resp.Status, err, body)
	}
	return body
}

// BenchmarkDescribeOne describes one instance of many, while the account's
// view is there (warm) and not (cold).
func BenchmarkDescribeOne(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		c, _ := benchSite(b, n)
		for _, warm := range []bool{false, true} {
			b.Run(fmt.Sprintf("of=%d/warm=%v", n, warm), func(b *testing.B) {
				if warm {
					c.must("Action=DescribeInstances&MaxResults=5")
				}
				form := c.randomText("Action=DescribeInstances&InstanceId.1=") + c.random["i-#one"]
				for b.Loop() {
					if code, body := c.call("alice", form); code != 200 {
						b.Fatal(body)
					}
				}
			})
		}
	}
}

// BenchmarkRunInstances launches from 8 clients over HTTP, signature included:
// each as soon as it has an answer, which tells how many launches a second
// there can be; and 1,500 a second in all, which tells how long one takes then.
func BenchmarkRunInstances(b *testing.B) {
	b.Run("rate=max", func(b *testing.B) { benchRunInstances(b, 2, 0) })
	b.Run("rate=1500", func(b *testing.B) { benchRunInstances(b, 2, 1500) })
}

// BenchmarkRunInstancesOn1000Nodes does the same in a cloud of that size.
func BenchmarkRunInstancesOn1000Nodes(b *testing.B) { benchRunInstances(b, 1000, 0) }

// benchRunInstances launches at rate a second, as fast as it can for 0.
func benchRunInstances(b *testing.B, nodes int, rate float64) {
	const clients, accounts = 8, 64
	c, _ := benchSite(b, 1)
	c.write(func(tx store.Tx) error {
		for n := 2; n < nodes; n++ {
			node := cloud.Node{Name: fmt.Sprintf("n%04d", n), Zone: "test-1a", Arch: "x86_64", Kind: "sim", CPUs: 1 << 24, MemoryMiB: 1 << 40, DiskGiB: 1 << 40}
			if err := tx.PutNode(c.ctx(), node); err != nil {
				return err
			}
		}
		return nil
	})
	ids := make([]string, accounts)
	c.write(func(tx store.Tx) error {
		for n := range ids {
			a, err := tx.AddAccount(c.ctx(), fmt.Sprint("bench", n))
			if err != nil {
				return err
			}
			ids[n] = a.ID
			if err := tx.AddNetwork(c.ctx(), cloud.NewDefaultNetwork(a.ID, []string{"test-1a"}, tx.Now())); err != nil {
				return err
			}
		}
		return nil
	})
	// Each client has an account of its own, and another one before the default
	// subnet's 4,091 addresses are gone.
	var turn atomic.Int64
	v := &sigv4.Verifier{Key: func(context.Context, string) (sigv4.Credential, error) {
		n := turn.Add(1)
		return sigv4.Credential{Secret: benchSecret, AccountID: ids[(n/(clients*4000)*clients+n%clients)%accounts]}, nil
	}}
	srv := httptest.NewServer(&query.Handler{Services: []*query.Service{c.srv.Service()}, PageKey: []byte("pages"), Verify: v.Verify})
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	form := "Action=RunInstances&Version=2016-11-15&InstanceType=t2.nano&MinCount=1&MaxCount=1&ImageId=" + url.QueryEscape(c.random["ami-#1"])

	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	left := atomic.Int64{}
	left.Store(int64(b.N))
	cpu := cpuTime()
	b.ResetTimer()
	for n := range clients {
		wg.Go(func() {
			req := signed(b, srv.URL, form)
			var mine []time.Duration
			var every, due time.Duration
			if rate > 0 {
				every = time.Duration(clients / rate * float64(time.Second))
				due = every * time.Duration(n) / clients
			}
			for begun := time.Now(); left.Add(-1) >= 0; due += every {
				start := time.Now()
				if rate > 0 { // a late request counts from when it was due
					start = begun.Add(due)
					time.Sleep(time.Until(start))
				}
				req.Body = io.NopCloser(strings.NewReader(form))
				resp, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 || !bytes.Contains(body, []byte("<instanceId>i-")) {
					b.Errorf("%s %s", resp.Status, body)
					return
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	if len(took) > 0 {
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
	}
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "launches/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(len(took)), "µs-cpu/launch")
}

// cpuTime returns the processor time this process has used: unlike time, it
// says the same on a busy machine.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
