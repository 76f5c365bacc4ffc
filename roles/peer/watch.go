package peer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

const (
	// A watch comes back so soon, with jitter: the first try finds a peer that
	// restarted, the last do not trouble one that is down.
	watchRetryMin = 200 * time.Millisecond
	watchRetryMax = 15 * time.Second
)

var errSilent = fmt.Errorf("nothing came for %v", silence)

// Watch calls f with each line of the peer's Stream at path, beginning after
// the position since. When the connection is lost, or silent for 15 s, it
// connects again and goes on after the last line that f took without an
// error. It ends when ctx does, with an error of f, or with a refusal that
// trying again does not cure.
func (c *Client) Watch(ctx context.Context, path, since string, f func(position string, data json.RawMessage) error) error {
	w := watch{c: c, path: path, since: since, f: f}
	wait := watchRetryMin
	for {
		err := w.once(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if w.failed != nil {
			return w.failed
		}
		if final(err) {
			return err
		}
		level := slog.LevelDebug
		if w.heard { // it worked, and one says once that it does no more
			level, wait = slog.LevelInfo, watchRetryMin
		}
		slog.Log(ctx, level, "watch interrupted", "peer", c.peer.String(), "path", c.prefix+path, "err", err)
		if !sleepUntil(ctx, time.Now().Add(jitter(wait))) {
			return ctx.Err()
		}
		wait = min(2*wait, watchRetryMax)
	}
}

// final says whether err will be the same next time. A certificate may be
// renewed meanwhile.
func final(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status < 500 && e.Status != http.StatusTooManyRequests && e.Status != http.StatusUnauthorized
}

type watch struct {
	c      *Client
	path   string
	since  string
	f      func(string, json.RawMessage) error
	heard  bool  // this connection said something
	failed error // of f
}

// once follows one stream to its end.
func (w *watch) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alarm := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer alarm.Stop()
	w.heard = false

	u, err := url.Parse(w.path)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set(sinceParam, w.since)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	res, err := w.c.do(w.c.calls, req)
	if err != nil {
		return cause(ctx, err)
	}
	defer res.Body.Close()
	s := bufio.NewScanner(res.Body)
	s.Buffer(nil, maxBody)
	for s.Scan() {
		w.heard = true
		alarm.Stop() // not while f works
		if err := w.take(s.Bytes()); err != nil {
			return err
		}
		alarm.Reset(silence)
	}
	if err := s.Err(); err != nil {
		return cause(ctx, err)
	}
	return io.EOF
}

// take gives one line to f.
func (w *watch) take(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return fmt.Errorf("line of a watch: %w", err)
	}
	if l.Error != nil {
		e := l.Error.Error
		e.Status = l.Error.Status
		return &e
	}
	if err := w.f(l.At, bytes.Clone(l.Data)); err != nil {
		w.failed = err
		return err
	}
	w.since = l.At
	return nil
}

// cause prefers why we ended the request to how that looked.
func cause(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}
