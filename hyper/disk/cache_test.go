package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// A source is where a cache under test fetches from.
type source struct {
	files   map[string][]byte
	fetches atomic.Int32
	wait    chan struct{} // if not nil, a fetch stays half done until it is closed
}

func newSource(n, size int) (*source, []string) {
	s := &source{files: map[string][]byte{}}
	var hashes []string
	for i := range n {
		b := bytes.Repeat([]byte{byte(i)}, size)
		hashes = append(hashes, hashOf(b))
		s.files[hashOf(b)] = b
	}
	return s, hashes
}

func (s *source) fetch(ctx context.Context, hash string, w io.Writer) error {
	s.fetches.Add(1)
	b, ok := s.files[hash]
	if !ok {
		return errors.New("no such image")
	}
	if _, err := w.Write(b[:len(b)/2]); err != nil {
		return err
	}
	if s.wait != nil {
		select {
		case <-s.wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := w.Write(b[len(b)/2:])
	return err
}

func newCache(t *testing.T, opt CacheOptions) *Cache {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = filepath.Join(t.TempDir(), "cache")
	}
	c, err := NewCache(opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantGet(t *testing.T, c *Cache, s *source, hash string) {
	t.Helper()
	path, err := c.Get(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode() != 0o644 || !bytes.Equal(read(t, path), s.files[hash]) {
		t.Errorf("%s is not the image: %v, %v", path, fi, err)
	}
}

// cached returns which of the images are there.
func cached(t *testing.T, c *Cache, hashes []string) (there []int) {
	t.Helper()
	files, err := os.ReadDir(c.opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		i := slices.Index(hashes, f.Name())
		if i < 0 {
			t.Errorf("%s is in the cache", f.Name())
		}
		there = append(there, i)
	}
	slices.Sort(there)
	return there
}

func TestCacheEvicts(t *testing.T) {
	t.Parallel()
	s, h := newSource(6, 1000)
	used := map[string]bool{}
	opt := CacheOptions{MaxBytes: 3000, Fetch: s.fetch, InUse: func(hash string) bool { return used[hash] }, Dir: t.TempDir()}
	c := newCache(t, opt)
	step := func(get int, want ...int) {
		t.Helper()
		wantGet(t, c, s, h[get])
		if got := cached(t, c, h); !slices.Equal(got, want) {
			t.Errorf("after %d: cached = %v, want %v", get, got, want)
		}
	}
	step(0, 0)
	step(1, 0, 1)
	step(2, 0, 1, 2)
	step(0, 0, 1, 2)
	step(3, 0, 2, 3) // 1 was not used for the longest time
	c = newCache(t, opt)
	step(2, 0, 2, 3)
	step(4, 2, 3, 4) // 0 was, which only files remember
	used[h[2]], used[h[3]], used[h[4]] = true, true, true
	step(5, 2, 3, 4, 5) // nothing may go, least of all what just came
	used[h[2]] = false
	step(5, 2, 3, 4, 5) // nothing came
	if n := s.fetches.Load(); n != 6 {
		t.Errorf("fetches = %d, want 6", n)
	}
	used[h[3]] = false
	step(0, 0, 4, 5)
}

func TestCacheFetchesOnce(t *testing.T) {
	t.Parallel()
	s, h := newSource(1, 1000)
	s.wait = make(chan struct{})
	c := newCache(t, CacheOptions{Fetch: s.fetch})
	first, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.Get(first, h[0]); !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want that it was cancelled", err)
		}
	})
	for range 20 {
		wg.Go(func() { wantGet(t, c, s, h[0]) })
	}
	for c.waiting(h[0]) < 21 {
		time.Sleep(time.Millisecond)
	}
	cancel() // the others want it still
	for c.waiting(h[0]) > 20 {
		time.Sleep(time.Millisecond)
	}
	close(s.wait)
	wg.Wait()
	if n := s.fetches.Load(); n != 1 {
		t.Errorf("fetches = %d, want 1", n)
	}
}

func (c *Cache) waiting(hash string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[hash]; f != nil {
		return f.waiting
	}
	return 0
}

func TestCacheCancelled(t *testing.T) {
	t.Parallel()
	s, h := newSource(1, 1000)
	s.wait = make(chan struct{})
	c := newCache(t, CacheOptions{Fetch: s.fetch})
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if _, err := c.Get(ctx, h[0]); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want that it was cancelled", err)
		}
		cancel()
		wantEmpty(t, c.opt.Dir)
	}
	close(s.wait)
	wantGet(t, c, s, h[0])
}

func TestCacheRefuses(t *testing.T) {
	t.Parallel()
	s, h := newSource(2, 1000)
	s.files[h[0]] = s.files[h[1]]
	broken := errors.New("connection lost")
	for _, tt := range []struct {
		name  string
		fetch func(ctx context.Context, hash string, w io.Writer) error
		want  string
	}{
		{"another content", s.fetch, "what was fetched has the content hash " + h[1]},
		{"nothing", func(context.Context, string, io.Writer) error { return nil }, "content hash e3b0c442"},
		{"half", func(_ context.Context, _ string, w io.Writer) error {
			fmt.Fprint(w, "half")
			return broken
		}, "connection lost"},
	} {
		c := newCache(t, CacheOptions{Fetch: tt.fetch})
		if path, err := c.Get(t.Context(), h[0]); err == nil || !strings.Contains(err.Error(), tt.want) || path != "" {
			t.Errorf("%s: %q, error = %v, want %s", tt.name, path, err, tt.want)
		}
		wantEmpty(t, c.opt.Dir)
	}
	c := newCache(t, CacheOptions{Fetch: s.fetch})
	for _, hash := range []string{"", "..", "../" + h[1], strings.ToUpper(h[1])} {
		if path, err := c.Get(t.Context(), hash); err == nil {
			t.Errorf("Get(%q) = %s", hash, path)
		}
	}
}

func TestCacheSweeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, []byte("half"), dir, tempPrefix+"1")
	newCache(t, CacheOptions{Dir: dir})
	wantEmpty(t, dir)
}

// TestCacheManyAtOnce has no more to say than the race detector.
func TestCacheManyAtOnce(t *testing.T) {
	t.Parallel()
	s, h := newSource(5, 1000)
	c := newCache(t, CacheOptions{MaxBytes: 2500, Fetch: s.fetch, InUse: func(hash string) bool { return hash == h[0] }})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if j%7 == i%7 {
					cancel()
				}
				_, err := c.Get(ctx, h[(i+j)%len(h)])
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if got := cached(t, c, h); len(got) > 2 || !slices.Contains(got, 0) {
		t.Errorf("cached = %v, want 0 and at most another", got)
	}
}
