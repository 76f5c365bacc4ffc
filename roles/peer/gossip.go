package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	randv2 "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// rejoinEvery is how often one looks for members that were lost: both
	// sides of a network that was cut think the other dead, and neither would
	// ever ask again.
	rejoinEvery = 30 * time.Second

	// leaveTime is enough to tell some: gossip goes out several times a second.
	leaveTime = 3 * time.Second

	// maxLost is how many lost members one remembers, more than a zone has,
	// and lostFor how long: longer than anybody lets a network be cut.
	maxLost = 4096
	lostFor = 7 * 24 * time.Hour
)

// GossipOptions are what a Gossip works with.
type GossipOptions struct {
	Identity Identity
	WAN      bool // the cloud's pool of front ends and heads, not the zone's of head and nodes
	Bind     string
	// Advertise is where others reach this host, as host:port; "" is Bind.
	Advertise string
	Keys      [][]byte // the first is used, the others are understood
	Join      []string // host:port of some members
	Meta      Meta

	// Transport carries it; nil is UDP and TCP at Bind.
	Transport memberlist.Transport
}

// Meta is what a member says of itself. It is small: see memberlist.MetaMaxSize.
type Meta struct {
	Addr    string `json:"a,omitempty"` // of its Server, host:port
	Up      string `json:"u,omitempty"` // of a head: where its front end's Server is
	Version string `json:"v,omitempty"` // of eucad
	Digest  string `json:"d,omitempty"` // of what others may want to fetch when it changes
}

// A Member is a host that seems to be there.
type Member struct {
	Identity
	Meta
	Gossip netip.AddrPort // where its gossip is
}

// A Gossip is a host's place in one pool. What it learns is a hint: every
// member has the key and could claim anything.
type Gossip struct {
	opt     GossipOptions
	list    *memberlist.Memberlist
	ring    *memberlist.Keyring
	log     *gossipLog
	changed chan struct{}

	mu      sync.Mutex
	join    []string
	meta    []byte
	members map[string]*memberlist.Node // copies: memberlist changes its own
	lost    map[string]lost
	losses  int
}

// lost is a member that went. Whether it died or left, memberlist does not
// tell; to call one that left costs little.
type lost struct {
	gossip string // address
	at     time.Time
}

// NewGossipKey returns a key for a pool.
func NewGossipKey() []byte {
	k := make([]byte, 32) // AES-256
	rand.Read(k)
	return k
}

// NewGossip returns a Gossip that answers others. It looks for them in Run.
func NewGossip(o GossipOptions) (*Gossip, error) {
	g, err := newGossip(o)
	if err != nil {
		return nil, fmt.Errorf("gossip of %s: %w", o.Identity, err)
	}
	return g, nil
}

func newGossip(o GossipOptions) (*Gossip, error) {
	if err := o.Identity.Check(); err != nil {
		return nil, err
	}
	if len(o.Keys) == 0 {
		return nil, errors.New("it has no key")
	}
	meta, err := encodeMeta(o.Meta)
	if err != nil {
		return nil, err
	}
	ring, err := memberlist.NewKeyring(o.Keys, o.Keys[0])
	if err != nil {
		return nil, err
	}
	g := &Gossip{
		opt: o, ring: ring, meta: meta, join: o.Join,
		log:     &gossipLog{id: o.Identity},
		changed: make(chan struct{}, 1),
		members: map[string]*memberlist.Node{},
		lost:    map[string]lost{},
	}
	c, err := g.config()
	if err != nil {
		return nil, err
	}
	g.list, err = memberlist.Create(c)
	return g, err
}

// config says how memberlist behaves.
func (g *Gossip) config() (*memberlist.Config, error) {
	c := lanConfig()
	c.Label = g.opt.Identity.Zone
	if g.opt.WAN {
		c = wanConfig()
		c.Label = "wan"
	} else if c.Label == "" {
		return nil, errors.New("a front end is in no zone's pool")
	}
	c.Name = memberName(g.opt.Identity)
	c.Keyring = g.ring
	c.GossipVerifyIncoming, c.GossipVerifyOutgoing = true, true
	c.Delegate, c.Events, c.Conflict = (*delegate)(g), (*delegate)(g), (*delegate)(g)
	c.LogOutput, c.Logger = nil, log.New(g.log, "", 0)
	c.Transport = g.opt.Transport
	if c.Transport != nil {
		return c, nil
	}
	var err error
	if c.BindAddr, c.BindPort, err = splitHostPort(g.opt.Bind); err != nil {
		return nil, fmt.Errorf("bind address: %w", err)
	}
	c.AdvertisePort = c.BindPort
	if g.opt.Advertise != "" {
		if c.AdvertiseAddr, c.AdvertisePort, err = splitHostPort(g.opt.Advertise); err != nil {
			return nil, fmt.Errorf("advertised address: %w", err)
		}
	}
	return c, nil
}

// lanConfig is for up to about 1,000 hosts on one network. A host that died
// should be known dead by all in under 10 s:
//
//	probed by someone                     1 s  at worst: 1,000 hosts each probe one every 500 ms
//	no answer, none through others       .5 s  one ProbeInterval
//	suspicion  4 × log10(1000) × 500 ms    6 s  in which a live host would object
//	told to all                           .8 s
//
// memberlist's own 1 s for ProbeInterval makes that 14 s. To halve the
// suspicion instead would leave a busy host half the time to object: with it,
// hosts that swap are buried alive. In a zone of three it has 2 s.
func lanConfig() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.ProbeInterval = 500 * time.Millisecond
	c.ProbeTimeout = 250 * time.Millisecond // a hundred times what a LAN needs
	c.SuspicionMult = 4

	// Whole lists repair what gossip lost, as when a rack starts at once.
	// memberlist stretches this to 3 minutes for 1,000 hosts, whose list has
	// some 150 KB.
	c.PushPullInterval = 30 * time.Second

	// Refutations must overtake suspicions when 1 % of packets are lost.
	c.RetransmitMult = 4
	c.GossipInterval = 200 * time.Millisecond
	c.GossipNodes = 3

	// A host that crashed and came back with another address gets its name
	// again after this, which is later than the address could still be in use.
	c.DeadNodeReclaimTime = 30 * time.Second

	// Messages are smaller than a packet with or without it.
	c.EnableCompression = false
	return c
}

// wanConfig is for some tens of hosts that may be far apart.
func wanConfig() *memberlist.Config {
	c := lanConfig()
	c.TCPTimeout = 30 * time.Second
	c.ProbeInterval = 2 * time.Second
	c.ProbeTimeout = time.Second // a round trip around the earth is .4 s
	c.SuspicionMult = 5          // 10 s for tens of hosts
	c.GossipInterval = 500 * time.Millisecond
	c.GossipNodes = 4
	return c
}

// Run joins the others, and again those it lost, until ctx ends. Then it says
// goodbye and stops.
func (g *Gossip) Run(ctx context.Context) error {
	defer g.Close()
	wait := time.Second // at first: hosts often start together
	for {
		g.rejoin()
		if !sleepUntil(ctx, time.Now().Add(jitter(wait))) {
			if err := g.Leave(); err != nil { // the others may be gone already
				slog.Debug("gossip left without a word", "host", g.opt.Identity.String(), "err", err)
			}
			return nil
		}
		wait = min(2*wait, rejoinEvery)
	}
}

// rejoin calls the hosts it was given while it is alone, or else one of those
// that were lost.
func (g *Gossip) rejoin() {
	g.mu.Lock()
	join := g.join
	g.mu.Unlock()
	if g.list.NumMembers() > 1 {
		join = g.oneLost()
	}
	if len(join) == 0 {
		return
	}
	if _, err := g.list.Join(join); err != nil {
		for _, hangup := range []string{"EOF", "reset by peer", "closed pipe"} {
			if strings.Contains(err.Error(), hangup) {
				g.log.warn("a host hangs up on gossip: it is in another pool than this host, or has another key", 3, "at", strings.Join(join, " "))
				break
			}
		}
		slog.Debug("gossip found nobody", "host", g.opt.Identity.String(), "at", join, "err", err)
	}
}

func (g *Gossip) oneLost() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.lost, func(_ string, l lost) bool { return time.Since(l.at) > lostFor })
	if len(g.lost) == 0 {
		return nil
	}
	all := slices.Collect(maps.Values(g.lost))
	return []string{all[randv2.IntN(len(all))].gossip}
}

// SetJoin says at what other addresses some members may be.
func (g *Gossip) SetJoin(all []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.join = all
}

// Leave tells the others that this host goes, so that none suspects it.
func (g *Gossip) Leave() error { return g.list.Leave(leaveTime) }

// Close stops without a word, as a crash would.
func (g *Gossip) Close() error { return g.list.Shutdown() }

// Changes wakes whoever wants to look at Members again. It carries no data,
// and many changes may wake once.
func (g *Gossip) Changes() <-chan struct{} { return g.changed }

// Members returns the hosts that seem to be there, this one too, in the order
// of their identities.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Member, 0, len(g.members))
	for _, n := range g.members {
		m, err := parseMember(n)
		if err != nil {
			slog.Debug("gossip of a stranger", "name", clip(n.Name), "err", err)
			continue
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.Identity.String(), b.Identity.String()) })
	return out
}

// Losses returns how often a member went, of its own will or not. More than
// hosts stopped is a sign that the network, or this host, is not well.
func (g *Gossip) Losses() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.losses
}

// SetMeta changes what this host says of itself. It waits until some were
// told, at most 3 s.
func (g *Gossip) SetMeta(m Meta) error {
	b, err := encodeMeta(m)
	if err != nil {
		return err
	}
	g.mu.Lock()
	same := bytes.Equal(g.meta, b)
	g.meta = b
	g.mu.Unlock()
	if same {
		return nil
	}
	if err := g.list.UpdateNode(leaveTime); err != nil { // all hear of it later
		slog.Debug("gossip of new metadata is slow", "host", g.opt.Identity.String(), "err", err)
	}
	return nil
}

// SetKeys changes the keys: the first is used, the others are understood. A
// pool gets a new key in three rounds, each when all have done the one before:
// (old, new), (new, old), (new).
func (g *Gossip) SetKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("gossip needs a key")
	}
	for _, k := range keys {
		if err := g.ring.AddKey(k); err != nil {
			return err
		}
	}
	if err := g.ring.UseKey(keys[0]); err != nil {
		return err
	}
	for _, old := range slices.Clone(g.ring.GetKeys()) {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, old) }) {
			if err := g.ring.RemoveKey(old); err != nil {
				return err
			}
		}
	}
	return nil
}

func encodeMeta(m Meta) ([]byte, error) {
	b, err := json.Marshal(m)
	if err == nil && len(b) > memberlist.MetaMaxSize {
		err = fmt.Errorf("metadata of gossip has %d bytes; there is room for %d", len(b), memberlist.MetaMaxSize)
	}
	return b, err
}

// memberName is the identity without what is always the same: packets are small.
func memberName(id Identity) string { return strings.TrimPrefix(id.String(), scheme) }

func parseMember(n *memberlist.Node) (Member, error) {
	id, err := ParseIdentity(scheme + n.Name)
	if err != nil {
		return Member{}, err
	}
	m := Member{Identity: id}
	if err := json.Unmarshal(n.Meta, &m.Meta); err != nil {
		return Member{}, err
	}
	a, _ := netip.AddrFromSlice(n.Addr)
	m.Gossip = netip.AddrPortFrom(a.Unmap(), n.Port)
	return m, nil
}

func splitHostPort(s string) (string, int, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return host, int(n), err
}

// delegate is what memberlist sees of a Gossip. It holds locks of its own
// while it calls, so nothing here may wait.
type delegate Gossip

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
)

func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta
}

// Gossip carries no messages: see the package comment.

func (d *delegate) NotifyMsg([]byte)                {}
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d *delegate) LocalState(bool) []byte          { return nil }
func (d *delegate) MergeRemoteState([]byte, bool)   {}

func (d *delegate) NotifyJoin(n *memberlist.Node)   { d.note(n, true) }
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.note(n, true) }
func (d *delegate) NotifyLeave(n *memberlist.Node)  { d.note(n, false) }

func (d *delegate) note(n *memberlist.Node, there bool) {
	c := *n
	d.mu.Lock()
	switch {
	case there:
		d.members[c.Name] = &c
		delete(d.lost, c.Name)
	default:
		delete(d.members, c.Name)
		d.losses++
		if len(d.lost) < maxLost {
			d.lost[c.Name] = lost{c.Address(), time.Now()}
		}
	}
	d.mu.Unlock()
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.log.warn("two hosts have one name in gossip", 1, "name", existing.Name, "at", existing.Address(), "and", other.Address())
}
