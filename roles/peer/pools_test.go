package peer

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// poolAddr is an address of this test process's own, with the ports of a host in service.
func poolAddr(n byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(192 + os.Getpid()%32), byte(os.Getpid() / 32), n}), 8774)
}

// A head that does not know at first where its zone reaches it joins the zone's
// pool when it does: with the keys and the words of then.
func TestPoolsOfTheZoneComeLater(t *testing.T) {
	old, key := NewGossipKey(), NewGossipKey()
	open := func(id Identity, n byte, late bool, key []byte) *Pools {
		t.Helper()
		p, err := OpenPools(PoolOptions{Identity: id, Zone: "az1", Addr: poolAddr(n), Late: late, Version: testVersion, Welcome: Welcome{LAN: [][]byte{key}, WAN: [][]byte{old}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		return p
	}
	node := open(node1, 1, false, key)
	head := open(head1, 2, true, old)
	head.Seeds([]netip.AddrPort{poolAddr(1)}, nil)
	head.SetUp("10.9.0.1:8774")
	if err := head.SetKeys(Welcome{LAN: [][]byte{key}}); err != nil {
		t.Fatal(err)
	}
	if n := len(head.Members()); n != 1 {
		t.Errorf("before it is in the zone's pool the head sees %d members, want itself in the cloud's", n)
	}
	if err := head.OpenZone(poolAddr(3).Addr()); err != nil {
		t.Fatal(err)
	}
	if err := head.OpenZone(poolAddr(4).Addr()); err != nil {
		t.Errorf("another time: %v", err)
	}
	for limit := time.Now().Add(time.Minute); len(node.Find(head1)) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the node does not see its head")
		}
	}
	if got := node.Find(head1); !slices.Equal(got, []string{poolAddr(3).String()}) {
		t.Errorf("the head is at %s, want %s", got, poolAddr(3))
	}
	if got := node.Find(fe1); fmt.Sprint(got) != "[10.9.0.1:8774]" {
		t.Errorf("the front end is at %s", got)
	}
	if got := node.Find(head2); len(got) != 0 {
		t.Errorf("the head of another zone is at %s", got)
	}
}
