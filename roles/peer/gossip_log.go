package peer

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// warnEvery bounds how often one gossip warns of the same thing.
const warnEvery = time.Hour

// A gossipLog takes memberlist's log. It has much to say about weather, which
// is for debugging; of what a person must mend, it says so in clear words, once.
type gossipLog struct {
	id Identity

	mu   sync.Mutex
	seen map[string]*seen
}

type seen struct {
	n      int // in the minute that began at since
	since  time.Time
	warned time.Time
}

// mends are parts of memberlist's messages that mean a mistake of someone's,
// when they come so many times in a minute.
var mends = []struct {
	part, say string
	times     int
}{
	{"could decrypt the message", "gossip comes with another key than this host has: one of the two is of another cloud, or missed a change of keys", 1},
	{"unacceptable label", "gossip comes for another pool than this host's: check the addresses it was told to join", 1},
	{"UDP probes failed", "gossip passes over TCP but not UDP: open the gossip port for UDP too", 20}, // fewer is lost packets
}

func (l *gossipLog) Write(b []byte) (int, error) {
	msg := string(bytes.TrimSpace(b))
	for _, m := range mends {
		if strings.Contains(msg, m.part) {
			l.warn(m.say, m.times, "detail", msg)
			return len(b), nil
		}
	}
	slog.Debug("gossip", "host", l.id.String(), "msg", msg)
	return len(b), nil
}

// warn says it once in a while, when it comes so many times in a minute. msg
// is one of a few.
func (l *gossipLog) warn(msg string, times int, args ...any) {
	level := slog.LevelDebug
	if l.count(msg, times, time.Now()) {
		level = slog.LevelWarn
	}
	slog.Log(context.Background(), level, msg, append([]any{"host", l.id.String()}, args...)...)
}

// count says whether it is time to warn.
func (l *gossipLog) count(msg string, times int, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[msg]
	if s == nil {
		s = &seen{}
		if l.seen == nil {
			l.seen = map[string]*seen{}
		}
		l.seen[msg] = s
	}
	if now.Sub(s.since) > time.Minute {
		s.n, s.since = 0, now
	}
	if s.n++; s.n < times || now.Sub(s.warned) < warnEvery {
		return false
	}
	s.warned = now
	return true
}
