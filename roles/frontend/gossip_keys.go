package frontend

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"eucad/roles/peer"
	"eucad/store"
)

// keyRound is how long each round of a change of gossip's keys takes: hosts hear
// of it at once, and one that is away until it is back.
const keyRound = time.Minute

// gossipKeys are those of the zones' gossip and of the cloud's. They change when
// a host was let out of the cloud, for it knows them, in three rounds that
// peer.Gossip.SetKeys asks for: (old, new), (new, old), (new).
type gossipKeys struct {
	mu sync.Mutex
	keySet
}

// A keySet is which keys are in use, and which round it is.
type keySet struct {
	lan, wan [][]byte
	since    time.Time // of the round; zero: there are no others to come
	round    int       // 1 and 2, while two keys are in use
	again    bool      // another host was let out meanwhile
}

// Settings of the store that keep them: hex keys, the one to use first, and
// "round seconds again" while they change.
const (
	lanKeys    = "gossip-lan"
	wanKeys    = "gossip-wan"
	keysChange = "gossip-round"
)

func (k *gossipKeys) now() (lan, wan [][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lan, k.wan
}

// load reads the keys, and makes them at the first start.
func (k *keySet) load(ctx context.Context, tx store.Tx) error {
	for name, keys := range map[string]*[][]byte{lanKeys: &k.lan, wanKeys: &k.wan} {
		text, err := setting(ctx, tx, name, func() string { return hex.EncodeToString(peer.NewGossipKey()) })
		if err != nil {
			return err
		}
		for _, h := range strings.Fields(text) {
			key, err := hex.DecodeString(h)
			if err != nil {
				return fmt.Errorf("setting %s: %w", name, err)
			}
			*keys = append(*keys, key)
		}
	}
	change, err := tx.Setting(ctx, keysChange)
	if err != nil || change == "" {
		return err
	}
	var since int64
	if _, err := fmt.Sscan(change, &k.round, &since, &k.again); err != nil {
		return fmt.Errorf("setting %s: %w", keysChange, err)
	}
	k.since = time.Unix(since, 0)
	return nil
}

// save keeps the keys.
func (k *keySet) save(ctx context.Context, tx store.Tx) error {
	for name, keys := range map[string][][]byte{lanKeys: k.lan, wanKeys: k.wan} {
		var text []string
		for _, key := range keys {
			text = append(text, hex.EncodeToString(key))
		}
		if err := tx.PutSetting(ctx, name, strings.Join(text, " ")); err != nil {
			return err
		}
	}
	change := ""
	if k.round > 0 {
		change = strings.Join([]string{strconv.Itoa(k.round), strconv.FormatInt(k.since.Unix(), 10), strconv.FormatBool(k.again)}, " ")
	}
	return tx.PutSetting(ctx, keysChange, change)
}

// begin starts to change the keys, now or when the change under way is done.
func (k *keySet) begin(now time.Time) {
	if k.round > 0 {
		k.again = true
		return
	}
	k.round, k.since, k.again = 1, now, false
	k.lan = append(k.lan[:1:1], peer.NewGossipKey())
	k.wan = append(k.wan[:1:1], peer.NewGossipKey())
}

// turn goes on to the next round.
func (k *keySet) turn(now time.Time) {
	switch k.round {
	case 1:
		k.round, k.since = 2, now
		k.lan, k.wan = [][]byte{k.lan[1], k.lan[0]}, [][]byte{k.wan[1], k.wan[0]}
	case 2:
		k.round, k.since = 0, time.Time{}
		k.lan, k.wan = k.lan[:1:1], k.wan[:1:1]
		if k.again {
			k.begin(now)
		}
	}
}

// newKeys has gossip's keys change.
func (p *peers) newKeys(ctx context.Context) error { return p.change(ctx, (*keySet).begin) }

// change changes the keys, here and on all hosts.
func (p *peers) change(ctx context.Context, f func(*keySet, time.Time)) error {
	k := &p.gossip
	k.mu.Lock()
	next := k.keySet
	err := p.f.db.Write(ctx, func(tx store.Tx) error {
		f(&next, tx.Now())
		return next.save(ctx, tx)
	})
	if err == nil {
		k.keySet = next
		err = p.pools.SetKeys(peer.Welcome{LAN: next.lan, WAN: next.wan})
	}
	k.mu.Unlock()
	if err != nil {
		return fmt.Errorf("change gossip's keys: %w", err)
	}
	p.news.spread()
	return nil
}

// turnKeys goes through the rounds until ctx ends.
func (p *peers) turnKeys(ctx context.Context) error {
	for {
		k, changed := &p.gossip, p.news.next()
		k.mu.Lock()
		round, wait := k.round, min(max(keyRound-time.Since(k.since), 0), keyRound) // the clock may have been set
		k.mu.Unlock()
		t := time.NewTimer(wait)
		if round == 0 {
			t.Stop()
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-t.C:
			if err := p.change(ctx, (*keySet).turn); err != nil && ctx.Err() == nil {
				slog.Error("gossip goes on with keys that a host knows which was let out of the cloud", "err", err)
				t.Reset(keyRound)
				select {
				case <-ctx.Done():
				case <-t.C:
				}
			}
		}
		t.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}
