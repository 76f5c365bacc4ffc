package peer

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxRefused bounds what a refusalLog remembers: strangers could fill it.
const maxRefused = 1024

// A refusalLog tells the log of this side, too, who is refused and why. Hosts
// try again, so each thing is said once in a while.
type refusalLog struct {
	mu   sync.Mutex
	said map[string]time.Time
}

// note logs what a person may have to mend.
func (l *refusalLog) note(host string, e *Error) {
	if e.Status < 400 || e.Status >= 500 || e.Status == http.StatusNotFound || e.Status == http.StatusTooManyRequests {
		return
	}
	l.say("host refused", host, e.Message)
}

func (l *refusalLog) say(msg, host, why string) {
	level := slog.LevelDebug
	if l.fresh(strings.Join([]string{msg, host, why}, "\n"), time.Now()) {
		level = slog.LevelWarn
	}
	slog.Log(context.Background(), level, msg, "host", host, "err", why)
}

// fresh reports whether what was not said for a while.
func (l *refusalLog) fresh(what string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.said[what]; ok && now.Sub(at) < warnEvery {
		return false
	}
	if l.said == nil || len(l.said) >= maxRefused {
		l.said = map[string]time.Time{}
	}
	l.said[what] = now
	return true
}

// Write takes the log of an http.Server. It is about connections that failed,
// which is for debugging, but for hosts that want nothing to do with this one.
func (l *refusalLog) Write(b []byte) (int, error) {
	msg := string(bytes.TrimSpace(b))
	from, why, ok := strings.Cut(strings.TrimPrefix(msg, "http: TLS handshake error from "), ": ")
	if ok && why == "remote error: tls: bad certificate" {
		l.say("a host does not talk to this one", hostOf(from), "it takes this host for another one, or for one of another cloud; its own log says more")
	} else {
		slog.Debug("connection failed", "err", msg)
	}
	return len(b), nil
}

type refusalKey struct{}

// noteRefusal logs that r is refused, if its server does that.
func noteRefusal(r *http.Request, e *Error) {
	l, _ := r.Context().Value(refusalKey{}).(*refusalLog)
	if l == nil {
		return
	}
	host := hostOf(r.RemoteAddr)
	if v := visitorOf(r.Context()); v.id != (Identity{}) {
		host = v.id.String()
	}
	if c, ok := callerOf(r.Context()); ok {
		host = c.id.String()
	}
	l.note(host, e)
}

// hostOf returns an address without its port, which is another one each time.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}
