package frontend

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"eucad/roles/peer"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// watch follows one of the front end's streams until the test ends.
func watch[T any](h *host, path, since string) (news <-chan T, at func() string) {
	ch, done := make(chan T, 100), make(chan struct{})
	position := make(chan string, 100)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		for ctx.Err() == nil { // as hosts do: after a refusal, or an end, they come again
			h.Watch(ctx, path, since, func(now string, data json.RawMessage) error {
				var v T
				if err := json.Unmarshal(data, &v); err != nil {
					return err
				}
				since = now
				position <- now
				ch <- v
				return nil
			})
			time.Sleep(10 * time.Millisecond)
		}
	}()
	h.s.t.Cleanup(func() { cancel(); <-done })
	return ch, func() string { return <-position }
}

func (h *host) node() error {
	in := plan.Hello{Version: testVersion, Net: cloud.Net{Addr: "127.0.0.1:9"}, Node: &plan.NodeHello{Arch: "x86_64", Kind: "sim", Host: cloud.Capacity{CPUs: 1, MemoryMiB: 1024, DiskGiB: 1}}}
	return h.Call(h.s.t.Context(), "POST", plan.HelloPath, in, nil)
}

// A host takes its plan again after the front end was started anew, whole and as
// part of the same history; and news of the cloud's hosts go on where they were.
func TestSessionsResume(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.join(peer.Node, "az1", "s1")
	if err := h.node(); err != nil {
		t.Fatal(err)
	}
	plans, _ := watch[plan.Message](h, plan.PlanPath, "")
	first := <-plans
	if !first.Full || first.Hosts == nil || first.Hosts.Whole.Hosts["s1"].Zone != "az1" {
		t.Errorf("the first plan is %+v", first)
	}
	welcomes, at := watch[peer.Welcome](h, plan.WelcomePath, "")
	<-welcomes
	told := at()

	s.stop()
	s.start()
	again := <-plans
	for !again.Full { // what changed before the stop may have been under way
		again = <-plans
	}
	if again.Epoch != first.Epoch || again.Rev < first.Rev {
		t.Errorf("the plan after the restart is of %d.%d, the first one of %d.%d", again.Epoch, again.Rev, first.Epoch, first.Rev)
	}
	// Nothing new: who knows it all is told nothing before something changes.
	more, _ := watch[peer.Welcome](h, plan.WelcomePath, told)
	if _, err := s.f.peers.CreateToken(t.Context(), "node", "az1", "", time.Hour); err != nil {
		t.Fatal(err)
	}
	s.join(peer.Node, "az1", "s2")
	if err := s.f.peers.RemoveHost(t.Context(), "s2"); err != nil {
		t.Fatal(err)
	}
	for name, ch := range map[string]<-chan peer.Welcome{"kept": welcomes, "new": more} {
		w := <-ch
		if !slices.Contains(w.Denied, "eucad://node/az1/s2") {
			t.Errorf("the %s watch is told of %q, want that s2 is denied", name, w.Denied)
		}
	}
}

// A host that says nothing any more is lost, and one that comes back is not.
func TestLostHostIsNoticed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.join(peer.Node, "az1", "l1")
	if err := h.node(); err != nil {
		t.Fatal(err)
	}
	lost := func() (lost bool) {
		err := s.f.db.Read(t.Context(), func(rx store.Rx) error {
			n, ok, err := rx.Node(t.Context(), "l1")
			if err == nil && !ok {
				t.Fatal("there is no node l1")
			}
			lost = n.Lost
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return lost
	}
	eventually(t, lost)
	if err := h.Call(t.Context(), "POST", plan.LeasePath, struct{}{}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return !lost() })
}

// A host that does not take its plan says why, and the front end's log has it.
func TestRefusedPlanIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.join(peer.Node, "az1", "p9")
	const why = "refused a plan that is older than the one this host has: it has epoch 7 revision 9"
	if err := h.Call(t.Context(), "POST", plan.RefusedPath, plan.Refused{Why: why}, nil); err != nil {
		t.Fatal(err)
	}
	if !logged.has(`msg="host refuses its plan" node=p9 err="` + why) {
		t.Error("the front end's log does not say so")
	}
}

// A host that was let out knows gossip's keys. They change in three rounds, in
// each of which hosts of the round before understand each other; that goes on
// after a restart, and begins again for another host that goes meanwhile.
func TestGossipKeysTurn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.join(peer.Cluster, "az1", "k1")
	s.join(peer.Node, "az1", "k2")
	s.join(peer.Node, "az1", "k3")
	welcomes, _ := watch[peer.Welcome](h, plan.WelcomePath, "")
	old := <-welcomes
	turn := func(do func(context.Context) error) peer.Welcome {
		t.Helper()
		if err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
		w := <-welcomes
		for len(welcomes) > 0 {
			w = <-welcomes
		}
		return w
	}
	next := func(ctx context.Context) error { return s.f.peers.change(ctx, (*keySet).turn) }
	remove := func(name string) {
		t.Helper()
		if err := s.f.peers.RemoveHost(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	remove("k2")
	one := <-welcomes
	for len(one.LAN) < 2 { // who is denied comes first
		one = <-welcomes
	}
	if !bytes.Equal(one.LAN[0], old.LAN[0]) || !bytes.Equal(one.WAN[0], old.WAN[0]) || len(one.WAN) != 2 {
		t.Fatalf("in the first round the old keys are in use: %x, %x", one.LAN, one.WAN)
	}
	s.stop()
	s.start()
	remove("k3")
	<-welcomes
	two := turn(next)
	if len(two.LAN) != 2 || !bytes.Equal(two.LAN[0], one.LAN[1]) || !bytes.Equal(two.LAN[1], one.LAN[0]) {
		t.Errorf("in the second round the new key is in use, and the old understood: %x", two.LAN)
	}
	three := turn(next) // and the first round of the next change
	if len(three.LAN) != 2 || !bytes.Equal(three.LAN[0], two.LAN[0]) || bytes.Equal(three.LAN[1], one.LAN[0]) {
		t.Errorf("after the third round the old key is gone, and for the other host another comes: %x", three.LAN)
	}
	turn(next)
	last := turn(next)
	if len(last.LAN) != 1 || len(last.WAN) != 1 || hex.EncodeToString(last.LAN[0]) == hex.EncodeToString(two.LAN[0]) {
		t.Errorf("at the end there is one key, which no removed host knows: %x", last.LAN)
	}
}

// A front end that listens at all its addresses tells gossip the one that others
// reach, not 0.0.0.0.
func TestGossipAddress(t *testing.T) {
	t.Parallel()
	own, all := netip.MustParseAddrPort("127.9.8.7:8774"), netip.MustParseAddrPort("0.0.0.0:8774")
	if at, err := toldAddr(own, nil); err != nil || at != own {
		t.Errorf("the one it listens at is %s: %s, %v", own, at, err)
	}
	if at, err := toldAddr(all, []netip.AddrPort{own}); err != nil || !at.Addr().IsLoopback() || at.Port() != 8774 {
		t.Errorf("towards a host at %s it is at %s, %v", own, at, err)
	}
	switch at, err := toldAddr(all, nil); { // by what this machine has
	case err == nil && (!at.Addr().Is4() || at.Addr().IsUnspecified()):
		t.Errorf("with nobody known it is at %s", at)
	case err != nil && !strings.Contains(err.Error(), "name the one that other hosts of the cloud reach"):
		t.Error(err)
	}
}

// Messages have fields that the previous version does not send, and the next one
// sends others that we do not know.
func TestOtherMinorVersions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	creds := s.join(peer.Cluster, "az1", "v1").creds
	for version, hello := range map[string]string{
		"1.1.4": `{"Version":"1.1.4","Net":{"Addr":"127.0.0.1:9"},"Cluster":{"Regime":"edge"}}`,
		"1.3.0": `{"Version":"1.3.0","Net":{"Addr":"127.0.0.1:9","Wave":7},"Cluster":{"Regime":"head","Phase":{"Of":"moon"}},"Future":[1]}`,
	} {
		c := s.client(creds, version)
		var answer struct{}
		if err := c.Call(t.Context(), "POST", plan.HelloPath, json.RawMessage(hello), &answer); err != nil {
			t.Errorf("hello of %s: %v", version, err)
		}
		if got := s.cluster("az1"); got.Version != version || got.Net.Addr != "127.0.0.1:9" {
			t.Errorf("after the hello of %s the cluster is %+v", version, got)
		}
		told := errors.New("told")
		err := c.Watch(t.Context(), plan.PlanPath, "", func(_ string, data json.RawMessage) error {
			var m plan.Message
			if err := json.Unmarshal(data, &m); err != nil {
				return err
			}
			return told
		})
		if err != told {
			t.Errorf("plan of %s: %v", version, err)
		}
	}
	for version, words := range map[string]string{"1.0.9": "eucad 1.0.9 is too old for 1.2.0: bring it to 1.1 first"} {
		refused(t, s.client(creds, version).Call(t.Context(), "POST", plan.LeasePath, struct{}{}, nil), words)
	}
}
