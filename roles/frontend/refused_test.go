package frontend

import (
	"net/netip"
	"testing"

	"eucad/roles/peer"
	"eucad/roles/plan"
	"eucad/store"
	"eucad/store/cloud"
)

// Who is not let in is told why, and so is whoever reads the front end's log.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *Options) { o.Zones = []string{"az0"} }) // which is the front end's own
	s.join(peer.Node, "az1", "taken")
	spent := s.token(peer.Node, "az1")
	if _, err := s.try(peer.JoinOptions{Token: spent, Name: "spender"}); err != nil {
		t.Fatal(err)
	}
	revoked := s.token(peer.Node, "az1")
	parsed, err := peer.ParseToken(revoked)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.f.peers.RevokeToken(t.Context(), parsed.ID); err != nil {
		t.Fatal(err)
	}
	az2, err := peer.ParseToken(s.token(peer.Node, "az1"))
	if err != nil {
		t.Fatal(err)
	}
	az2.Zone = "az2"
	for _, tt := range []struct {
		name, as, token, words string
	}{
		{"claimed name", "taken", s.token(peer.Node, "az1"), "another host is already eucad://node/az1/taken"},
		{"claimed name in another zone", "taken", s.token(peer.Node, "az2"), "the name taken belongs to eucad://node/az1/taken: give this host another one"},
		{"claimed name in another role", "taken", s.token(peer.Cluster, "az1"), "the name taken belongs to eucad://node/az1/taken"},
		{"the front end's name", s.opt.Name, s.token(peer.Node, "az0"), "the name " + s.opt.Name + " belongs to this front end"},
		{"claimed zone", "mover", az2.String(), `is for zone "az1", not "az2"`},
		{"used token", "second", spent, "make a new one for each host"},
		{"revoked token", "late", revoked, "was revoked at"},
	} {
		_, err := s.try(peer.JoinOptions{Token: tt.token, Name: tt.as})
		if err == nil {
			t.Errorf("%s: it joined", tt.name)
			continue
		}
		refused(t, err, tt.words)
	}
	_, err = s.try(peer.JoinOptions{Token: s.token(peer.Node, "az1"), Name: "old", Version: "1.0.9"})
	refused(t, err, "eucad 1.0.9 is too old for 1.2.0: bring it to 1.1 first")
	_, err = s.try(peer.JoinOptions{Token: s.token(peer.Node, "az1"), Name: "other", Version: "2.0.0"})
	if peer.ErrorCode(err) != peer.VersionRefused || !logged.has("eucad 2.0.0 and 1.2.0 do not work together: they differ in the major version") {
		t.Errorf("another major version: %v", err) // each side names itself last
	}
	if _, err = s.try(peer.JoinOptions{Token: s.token(peer.Node, "az1"), Name: "previous", Version: "1.1.7"}); err != nil {
		t.Errorf("a host of the previous minor version: %v", err)
	}
}

// The token of another cloud is not even sent: the host refuses, and the front
// end's log tells of it.
func TestOtherCloud(t *testing.T) {
	t.Parallel()
	s, other := newSite(t), newSite(t)
	_, err := s.try(peer.JoinOptions{Token: other.token(peer.Node, "az1"), Name: "n1"})
	if peer.ErrorCode(err) != peer.OtherCloud {
		t.Errorf("error = %v", err)
	}
	eventually(t, func() bool { return logged.has("a host does not talk to this one") })

	stranger := other.join(peer.Node, "az1", "n1")
	c := peer.NewClient(peer.ClientOptions{Address: s.opt.PeerListen, Peer: s.f.peers.creds.Identity(), Credentials: stranger.creds, Version: testVersion})
	defer c.Close()
	if err := c.Call(t.Context(), "POST", plan.LeasePath, struct{}{}, nil); peer.ErrorCode(err) != peer.OtherCloud {
		t.Errorf("error = %v", err)
	}
}

func TestOneHeadForEachZone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.join(peer.Cluster, "az1", "h1").head(""); err != nil {
		t.Fatal(err)
	}
	h2 := s.join(peer.Cluster, "az1", "h2")
	refused(t, h2.head(""), "the zone az1 has the head h1 already; remove that one first (eucad node remove h1), or join h2 as another zone")
	refused(t, s.join(peer.Node, "az1", "n1").head(""), "is not the head of a zone")
	if err := s.f.peers.RemoveHost(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	if err := h2.head(""); err != nil {
		t.Errorf("when the other is gone: %v", err)
	}
}

func TestPublicRangesOfZones(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h1, h2 := s.join(peer.Cluster, "az1", "r1"), s.join(peer.Cluster, "az2", "r2")
	if err := h1.head("203.0.113.0/25"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ own, words string }{
		{"203.0.113.64/26", "the public range 203.0.113.64/26 of zone az2 overlaps with 203.0.113.0/25 of zone az1"},
		{"203.0.0.0/16", "of zone az2 overlaps with 203.0.113.0/25 of zone az1"},
		{"198.18.7.0/24", "the public range 198.18.7.0/24 of zone az2 overlaps with the cloud's own 198.18.0.0/16"},
		{"172.31.8.0/24", "the public range 172.31.8.0/24 overlaps with 172.31.0.0/16, the addresses of every default VPC"},
		{"100.64.0.0/10", "overlaps with 100.126.0.0/16, the addresses of the hosts' mesh"},
	} {
		refused(t, h2.head(tt.own), tt.words)
	}
	for _, own := range []string{"203.0.113.128/25", "198.18.0.0/16", ""} { // its own, and twice the cloud's
		if err := h2.head(own); err != nil {
			t.Errorf("%q: %v", own, err)
		}
	}
	if got := s.cluster("az2"); got.PublicRange.IsValid() {
		t.Errorf("az2 has the range %s of its own, which is the cloud's", got.PublicRange)
	}
}

// A range stays as long as addresses of it are in use, whoever the head is.
func TestPublicRangeInUse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.join(peer.Cluster, "az1", "u1")
	if err := h.head("203.0.113.0/25"); err != nil {
		t.Fatal(err)
	}
	a := cloud.Address{ID: cloud.NewID("eipalloc"), AccountID: "1", IP: netip.MustParseAddr("203.0.113.9"), Zone: "az1"}
	s.write(func(tx store.Tx) error { return tx.PutAddress(t.Context(), a) })
	refused(t, h.head(""), "the public addresses of zone az1 cannot become those of the cloud yet, for others are in use there (1, such as 203.0.113.9)")
	refused(t, h.head("203.0.113.128/25"), "cannot become 203.0.113.128/25 yet")
	if err := h.head("203.0.113.0/24"); err != nil {
		t.Errorf("a larger one: %v", err)
	}
	if err := s.f.peers.RemoveHost(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	next := s.join(peer.Cluster, "az1", "u2")
	refused(t, next.head(""), "cannot become those of the cloud yet")
	if err := next.head("203.0.113.0/24"); err != nil {
		t.Errorf("the next head with the same range: %v", err)
	}
	s.write(func(tx store.Tx) error { return tx.DeleteAddress(t.Context(), a) })
	if err := next.head(""); err != nil {
		t.Errorf("when none is in use: %v", err)
	}

	// An address of the cloud's holds on to it likewise.
	n := cloud.Interface{ID: cloud.NewID("eni"), AccountID: "1", Zone: "az1", PrivateIP: netip.MustParseAddr("172.31.0.9")}
	b := cloud.Address{ID: cloud.NewID("eipalloc"), AccountID: "1", IP: netip.MustParseAddr("198.18.0.9"), InterfaceID: n.ID, AssociationID: "x"}
	s.write(func(tx store.Tx) error {
		if err := tx.PutInterface(t.Context(), n); err != nil {
			return err
		}
		return tx.PutAddress(t.Context(), b)
	})
	refused(t, next.head("203.0.113.0/24"), "cannot become 203.0.113.0/24 yet, for others are in use there (1, such as 198.18.0.9)")
}

// A front end does not start with public addresses that a zone has, or that
// mean something else.
func TestPoolRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.join(peer.Cluster, "az1", "p1").head("203.0.113.0/25"); err != nil {
		t.Fatal(err)
	}
	s.stop()
	for pool, want := range map[string]string{
		"203.0.113.0/24": "the public range 203.0.113.0/24 overlaps with 203.0.113.0/25 of zone az1; choose another --public-range",
		"172.16.0.0/12":  "the public range 172.16.0.0/12 overlaps with 172.31.0.0/16, the addresses of every default VPC; choose another --public-range",
	} {
		o := s.opt
		o.PublicPool = netip.MustParsePrefix(pool)
		f, err := Open(t.Context(), o)
		if err == nil {
			f.Close()
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", pool, err, want)
		}
	}
}
