package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

const (
	heartbeat = 5 * time.Second // a stream is never silent for longer
	silence   = 3 * heartbeat   // so that after this it is dead
	writeTime = 2 * heartbeat   // a reader may stand still for so long
	extend    = heartbeat / 2   // how often the write deadline moves
	gathered  = 64              // lines that may be flushed together
	piece     = 64 << 10        // of a long line, while which some of it must arrive
)

// line is what a stream consists of. An empty line is a heartbeat.
type line struct {
	At    string          `json:"at,omitempty"` // the position after the line
	Data  json.RawMessage `json:"data,omitempty"`
	Error *lineError      `json:"error,omitempty"` // the last one
}

type lineError struct {
	Error
	Status int `json:"status"`
}

// Stream answers r with what next returns, a line for each, for as long as the
// peer reads: see Client.Watch. next waits until there is something to say, at
// most until its context ends, and returns a position with it: to who comes
// back with that position (Since), next says only what came later. io.EOF from
// next ends the stream; another error ends it too and reaches the peer like
// one of Handle's. A peer that does not read for 10 s is
// cut off.
func Stream(w http.ResponseWriter, r *http.Request, next func(context.Context) (position string, data any, err error)) error {
	ctx, cancel := context.WithCancel(r.Context())
	lines := make(chan line, gathered)
	var failed error
	go func() {
		defer close(lines)
		for {
			l, err := nextLine(ctx, next)
			if err != nil {
				failed = err // read after lines is closed
				return
			}
			select {
			case lines <- l:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		for range lines { // until next has returned
		}
	}()

	s := &streamWriter{w: w, rc: http.NewResponseController(w)}
	defer s.rc.SetWriteDeadline(time.Time{}) // HTTP/1.1 uses the connection again
	w.Header().Set("Content-Type", "application/x-ndjson")
	if err := s.write(nil); err != nil { // so that the peer knows it is connected
		return err
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		if err := s.flush(); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		select {
		case l, ok := <-lines:
			for more := true; more; {
				if !ok {
					return s.end(r, failed)
				}
				if err := s.line(l); err != nil {
					return fmt.Errorf("stream: %w", err)
				}
				select {
				case l, ok = <-lines:
				default:
					more = false
				}
			}
		case <-tick.C:
			if err := s.write(nil); err != nil {
				return fmt.Errorf("stream: %w", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Since returns the position from which a watch wants to go on; "" is the start.
func Since(r *http.Request) string { return r.URL.Query().Get(sinceParam) }

const sinceParam = "since"

func nextLine(ctx context.Context, next func(context.Context) (string, any, error)) (line, error) {
	at, data, err := next(ctx)
	if err != nil {
		return line{}, err
	}
	b, err := json.Marshal(data)
	return line{At: at, Data: b}, err
}

// A streamWriter writes lines while the peer reads them.
type streamWriter struct {
	w     io.Writer
	rc    *http.ResponseController
	until time.Time // the write deadline
}

// write writes b and the end of the line.
func (s *streamWriter) write(b []byte) error {
	for p := range slices.Chunk(append(b, '\n'), piece) {
		// The heartbeat moves the deadline before it passes; only a write that
		// waits for the peer meets it.
		if now := time.Now(); s.until.Sub(now) < writeTime-extend {
			s.until = now.Add(writeTime)
			if err := s.rc.SetWriteDeadline(s.until); err != nil {
				return err
			}
		}
		if _, err := s.w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func (s *streamWriter) line(l line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return s.write(b)
}

func (s *streamWriter) flush() error { return s.rc.Flush() }

// end says why the stream ends, and returns what is the server's own trouble.
func (s *streamWriter) end(r *http.Request, err error) error {
	if r.Context().Err() != nil {
		return r.Context().Err()
	}
	if err == nil || errors.Is(err, io.EOF) {
		return s.flush()
	}
	e := asError(err)
	if werr := s.line(line{Error: &lineError{*e, e.Status}}); werr != nil {
		return werr
	}
	if e.Code == Internal {
		return err
	}
	return s.flush()
}
