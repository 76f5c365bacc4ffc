package disk

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// CacheOptions are what a Cache works with.
type CacheOptions struct {
	Dir      string // holds files named by their hash; one Cache at a time works on it
	MaxBytes int64  // of all files together; default 64 GiB

	// Fetch writes the content with this hash to w. It returns when ctx ends.
	Fetch func(ctx context.Context, hash string, w io.Writer) error

	// InUse says whether a file must stay: some disk is based on it, or soon
	// will be, for Get does not keep what it returned from being evicted later.
	// It must not call the Cache. nil: none is in use.
	InUse func(hash string) bool
}

// A Cache keeps on a node the images that its guests need, and others as long
// as there is room.
type Cache struct {
	opt CacheOptions

	mu      sync.Mutex // also held while files are looked for and go
	flights map[string]*flight
}

// A flight is one fetch, for all who wait for it.
type flight struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // when done
}

// NewCache makes the directory if it must, and removes what an earlier process
// left there unfinished. What it finished is there again, and as recent as it was.
func NewCache(opt CacheOptions) (*Cache, error) {
	opt.MaxBytes = cmp.Or(opt.MaxBytes, 64<<30)
	if opt.InUse == nil {
		opt.InUse = func(string) bool { return false }
	}
	if err := sweep(opt.Dir); err != nil {
		return nil, fmt.Errorf("open image cache: %w", err)
	}
	return &Cache{opt: opt, flights: map[string]*flight{}}, nil
}

// Get returns the path of the image with this content hash, and fetches it
// first when it must. Those who want the same image wait for one fetch, which
// goes on until the last of them has given up.
func (c *Cache) Get(ctx context.Context, hash string) (path string, err error) {
	if !hashName.MatchString(hash) {
		return "", fmt.Errorf("image %.80q: that is no content hash", hash)
	}
	path = filepath.Join(c.opt.Dir, hash)
	f, err := c.join(ctx, hash, path)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", hash, err)
	}
	if f == nil {
		return path, nil
	}
	select {
	case <-f.done:
		err = f.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	c.leave(f, hash)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", hash, err)
	}
	return path, nil
}

// join returns nil when the image is here, else the flight that brings it.
func (c *Cache) join(ctx context.Context, hash, path string) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := touch(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	f := c.flights[hash]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		c.flights[hash] = f
		go func() {
			defer close(f.done)
			f.err = c.fetch(ctx, hash, path)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.forget(f, hash)
		}()
	}
	f.waiting++
	return f, nil
}

// leave ends the flight, and waits for its end, when nobody else waits for it.
func (c *Cache) leave(f *flight, hash string) {
	c.mu.Lock()
	f.waiting--
	last := f.waiting == 0
	if last {
		c.forget(f, hash) // who comes now shall not join it
	}
	c.mu.Unlock()
	if last {
		f.cancel()
		<-f.done
	}
}

func (c *Cache) forget(f *flight, hash string) {
	if c.flights[hash] == f {
		delete(c.flights, hash)
	}
}

// fetch brings the image to path, or nothing at all.
func (c *Cache) fetch(ctx context.Context, hash, path string) error {
	f, err := os.CreateTemp(c.opt.Dir, tempPrefix)
	if err != nil {
		return diskFull(c.opt.Dir, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	err = c.opt.Fetch(ctx, hash, io.MultiWriter(f, h))
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil && hex.EncodeToString(h.Sum(nil)) != hash {
		return fmt.Errorf("what was fetched has the content hash %x", h.Sum(nil))
	}
	if err == nil {
		err = touch(f.Name()) // the file system's own clock is a coarser one
	}
	if err == nil {
		err = publish(f, path)
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		c.evict(hash, 0) // for the next try
	case err == nil:
		c.evict(hash, c.opt.MaxBytes)
		return nil
	}
	return fmt.Errorf("fetch: %w", diskFull(c.opt.Dir, err))
}

// touch keeps the time of the last use with the file, which never changes.
func touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

// evict removes the images that were not used for the longest time until the
// others have at most max bytes, but for those in use and the one to keep.
func (c *Cache) evict(keep string, max int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	files, err := os.ReadDir(c.opt.Dir)
	if err != nil {
		slog.Error("cannot look for unused images", "err", err)
		return
	}
	var images []fs.FileInfo
	var total int64
	for _, f := range files {
		if fi, err := f.Info(); err == nil && hashName.MatchString(f.Name()) {
			images = append(images, fi)
			total += fi.Size()
		}
	}
	slices.SortFunc(images, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, fi := range images {
		if total <= max {
			return
		}
		if fi.Name() == keep || c.opt.InUse(fi.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(c.opt.Dir, fi.Name())); err != nil {
			slog.Error("cannot remove an unused image", "hash", fi.Name(), "err", err)
			continue
		}
		slog.Info("unused image removed from the cache", "hash", fi.Name())
		total -= fi.Size()
	}
}
