package node

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"eucad/hyper"
	"eucad/net/fabrictest"
	netsim "eucad/net/sim"
	"eucad/roles/plan"
)

// A vpcGuest is a guest with one port in a VPC, and what the plan says of that.
type vpcGuest struct {
	machine plan.Machine
	vpc     *plan.Vpc
	port    string
}

func newVpcGuest(id, vpc string, power hyper.Power) vpcGuest {
	r := fabrictest.Router(vpc, 1)
	g := vpcGuest{guest(id, power), &plan.Vpc{ID: vpc, Rev: 1, VNI: r.VNI, CIDRs: r.CIDRs, Subnets: r.Subnets, Groups: map[string]plan.Group{"sg-1": {}},
		Ifaces: map[string]plan.Iface{r.Ports[0].ID: {Port: r.Ports[0], Instance: id, Host: "n1"}}}, r.Ports[0].ID}
	g.machine.VpcID, g.machine.Ports = vpc, []string{g.port}
	return g
}

func wholePlan(guests ...vpcGuest) plan.Batch {
	b := plan.Batch{Rev: 1, Full: true, Hosts: &plan.HostsUpdate{Whole: &plan.Hosts{Rev: 1, Hosts: map[string]plan.Host{"n1": {Zone: "z"}}, Zones: map[string]plan.Zone{"z": {Regime: plan.Edge}}}}}
	for _, g := range guests {
		b.Machines = append(b.Machines, g.machine)
		b.Vpcs = append(b.Vpcs, plan.VpcUpdate{ID: g.vpc.ID, Whole: g.vpc})
	}
	return b
}

// A guest that could not be let into its network is let in when that is mended.
func TestGuestIsLetInLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.network = netsim.New()
		var broken atomic.Bool
		broken.Store(true)
		d.network.SetFault(func(op, id string) error {
			if op == "plug" && broken.Load() {
				return errors.New("broken")
			}
			return nil
		})
		defer d.start()()
		g := newVpcGuest(one, "vpc-1", hyper.On)
		if err := d.Deliver(wholePlan(g)); err != nil {
			t.Fatal(err)
		}
		d.await(func(s plan.Status) bool { return s.State == hyper.Running && s.Err != "" }, one)
		broken.Store(false)
		time.Sleep(retryMax)
		synctest.Wait()
		if got := d.network.Plugged(); !slices.Equal(got, []string{g.port}) {
			t.Errorf("plugged = %v, want %s", got, g.port)
		}
		d.await(func(s plan.Status) bool { return s.State == hyper.Running && s.Err == "" }, one)
	})
}

// A VPC whose router can't be made is no matter of guests in another one.
func TestBrokenRouterIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.network = netsim.New()
		d.network.SetFault(func(op, id string) error {
			if op == "apply" && id == "vpc-2" {
				return errors.New("broken")
			}
			return nil
		})
		defer d.start()()
		good, bad := newVpcGuest(one, "vpc-1", hyper.On), newVpcGuest(two, "vpc-2", hyper.On)
		if err := d.Deliver(wholePlan(good, bad)); err != nil {
			t.Fatal(err)
		}
		d.await(func(s plan.Status) bool { return s.State == hyper.Running && s.Err == "" }, one)
		d.await(func(s plan.Status) bool { return s.State != hyper.Running && s.Err != "" }, two)
		good.machine.Ended = true
		if err := d.Deliver(plan.Batch{Machines: []plan.Machine{good.machine}}); err != nil {
			t.Fatal(err)
		}
		d.await(func(s plan.Status) bool { return s.Ended && s.Err == "" }, one)
	})
}

// An agent whose kept plan is older than what runs on its host, because it died
// before it could keep a newer one or the disk was full, does not take guests
// off their networks before the front end is in reach. With a plan that knows
// all guests it makes the network at once.
func TestOldPlanTakesNoNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.network = netsim.New()
		stop := d.start()
		first, second := newVpcGuest(one, "vpc-1", hyper.On), newVpcGuest(two, "vpc-2", hyper.On)
		if err := d.Take(plan.Message{Epoch: 1, Batch: wholePlan(first)}); err != nil {
			t.Fatal(err)
		}
		d.await(running, one)
		time.Sleep(2 * keepEvery)
		old, err := os.ReadFile(d.keep)
		if err != nil {
			t.Fatal(err)
		}
		both := plan.Message{Epoch: 1, Batch: wholePlan(first, second)}
		if err := d.Take(both); err != nil {
			t.Fatal(err)
		}
		d.await(running, two)
		time.Sleep(2 * keepEvery)
		plugged := func(when string, want ...string) {
			t.Helper()
			time.Sleep(time.Minute)
			slices.Sort(want)
			if got := d.network.Plugged(); !slices.Equal(got, want) {
				t.Errorf("%s: plugged = %v, want %v", when, got, want)
			}
		}
		plugged("at first", first.port, second.port)
		stop()

		new, err := os.ReadFile(d.keep)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.keep, old, 0o600); err != nil {
			t.Fatal(err)
		}
		stop = d.start()
		plugged("with the old plan", first.port, second.port)
		gone := first
		gone.machine.Ended = true
		if err := d.Take(plan.Message{Epoch: 1, Batch: wholePlan(gone, second)}); err != nil {
			t.Fatal(err)
		}
		plugged("told by the front end", second.port)
		stop()

		if err := os.WriteFile(d.keep, new, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.driver.Remove(t.Context(), two); err != nil { // the host was rebooted
			t.Fatal(err)
		}
		d.network = netsim.New()
		defer d.start()()
		plugged("after a reboot", first.port, second.port)
	})
}

// A host goes by the public addresses of its zone, and when the zone has none
// of its own any more by those it started with.
func TestPublicRange(t *testing.T) {
	network := netsim.New()
	a := New(Options{Name: "n", Network: network})
	own := netip.MustParsePrefix("203.0.113.0/26")
	take := func(rev uint64, zone netip.Prefix) netip.Prefix {
		t.Helper()
		hosts := &plan.Hosts{Rev: rev, Hosts: map[string]plan.Host{"n": {Zone: "z"}}, Zones: map[string]plan.Zone{
			"z": {Head: "h", Regime: plan.Edge, Public: zone}, "y": {Head: "i", Public: netip.MustParsePrefix("203.0.113.64/26")}}}
		if err := a.Take(plan.Message{Epoch: 1, Batch: plan.Batch{Rev: rev, Full: true, Hosts: &plan.HostsUpdate{Whole: hosts}}}); err != nil {
			t.Fatal(err)
		}
		if err := a.net.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		return network.Config().Public
	}
	if got := take(1, own); got != own {
		t.Errorf("public addresses of the zone are %s, want %s", got, own)
	}
	if got := take(2, netip.Prefix{}); got.IsValid() {
		t.Errorf("public addresses of a zone without its own are %s", got)
	}
}
