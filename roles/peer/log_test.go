package peer

import (
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// warnings gathers what is logged at that level, for one test at a time.
func warnings(t *testing.T) *warningLog {
	w := &warningLog{}
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})))
	t.Cleanup(func() { slog.SetDefault(old) })
	return w
}

type warningLog struct {
	mu    sync.Mutex
	lines []string
}

func (w *warningLog) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, string(b))
	return len(b), nil
}

// about returns how many lines say so of the host.
func (w *warningLog) about(host Identity, say string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lines {
		if strings.Contains(l, "host="+host.String()) && strings.Contains(l, say) {
			n++
		}
	}
	return n
}

// says checks that the log of this side has the sentence that the other side
// was refused with.
func (w *warningLog) says(t testing.TB, msg string, refused error) {
	t.Helper()
	if refused == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lines {
		if strings.Contains(l, "msg="+strconv.Quote(msg)) && strings.Contains(l, "err="+strconv.Quote(refused.Error())) {
			return
		}
	}
	t.Errorf("the log does not say %q: %q", refused, w.lines)
}

// await waits until the log has so many lines that say so.
func (w *warningLog) await(t testing.TB, say string, n int) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		all := strings.Join(w.lines, "")
		w.mu.Unlock()
		switch got := strings.Count(all, say); {
		case got == n:
			return
		case got > n || time.Now().After(limit):
			t.Fatalf("%d lines say %q, want %d: %s", got, say, n, all)
		}
	}
}
