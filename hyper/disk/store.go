package disk

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// StoreOptions are what a Store works with.
type StoreOptions struct {
	Dir string // holds <hash>.qcow2 and <hash>.bin; one Store at a time works on it

	MaxSizeBytes   int64 // of a disk as its guest sees it; default 2 TiB
	MaxFileBytes   int64 // of a file that is brought, packed and unpacked, and of what is kept of it; default 512 GiB
	MaxKernelBytes int64 // of a kernel or ramdisk; default 512 MiB
}

// A Store keeps images once by the hash of their content, in one directory.
type Store struct {
	opt  StoreOptions
	turn chan struct{} // has room for those who may convert
}

// maxConverting bounds how many images are converted at once: QEMU's memory
// and the disk are shared with guests in a small cloud.
const maxConverting = 2

// Content is an imported file.
type Content struct {
	Hash      string // SHA-256 of the file as it is kept, in hexadecimal
	SizeBytes int64  // that the guest sees
}

// OpenStore makes the directory if it must, and removes what an earlier
// process left there unfinished.
func OpenStore(opt StoreOptions) (*Store, error) {
	opt.MaxSizeBytes = cmp.Or(opt.MaxSizeBytes, 2<<40)
	opt.MaxFileBytes = cmp.Or(opt.MaxFileBytes, 512<<30)
	opt.MaxKernelBytes = cmp.Or(opt.MaxKernelBytes, 512<<20)
	if err := sweep(opt.Dir); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	return &Store{opt: opt, turn: make(chan struct{}, maxConverting)}, nil
}

// Path returns where the content with this hash is kept, if it is.
func (s *Store) Path(hash string) (string, bool) {
	if !hashName.MatchString(hash) {
		return "", false
	}
	for _, ext := range []string{".qcow2", ".bin"} {
		path := filepath.Join(s.opt.Dir, hash+ext)
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			return path, true
		}
	}
	return "", false
}

// Import keeps what r holds. A machine's image may be qcow2, raw, vmdk, vhd or
// vhdx, packed with gzip, xz, zstd or bzip2 or not, and becomes a qcow2 that
// leads to no other file. A kernel or ramdisk is kept as it is.
//
// size is that of r, or -1; a shorter r was cut off. progress, if not nil, is
// told how much of the steps "reading", "converting" and "hashing" is done, in
// bytes. A file that is not taken is an ErrBadImage; a full disk is ENOSPC.
// What fails leaves nothing behind. Import notices that ctx ends when a read of
// r returns.
func (s *Store) Import(ctx context.Context, r io.Reader, size int64, kind string, progress func(step string, done, total int64)) (Content, error) {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	tmp, err := os.MkdirTemp(s.opt.Dir, tempPrefix)
	if err != nil {
		return Content{}, fmt.Errorf("import %s: %w", kind, diskFull(s.opt.Dir, err))
	}
	defer os.RemoveAll(tmp)
	in := &input{ctx: ctx, r: r, total: size, step: "reading", say: progress}
	var c Content
	switch kind {
	case "machine":
		in.max = s.opt.MaxFileBytes
		c, err = s.importDisk(ctx, in, tmp)
	case "kernel", "ramdisk":
		in.max = s.opt.MaxKernelBytes
		c, err = s.importAsIs(ctx, in, tmp)
	default:
		err = fmt.Errorf("images of kind %q are unknown", kind)
	}
	switch {
	case errors.Is(err, ErrBadImage):
		return Content{}, err
	case err != nil:
		return Content{}, fmt.Errorf("import %s: %w", kind, diskFull(s.opt.Dir, err))
	}
	return c, nil
}

func (s *Store) importAsIs(ctx context.Context, in *input, tmp string) (c Content, err error) {
	f, err := os.Create(filepath.Join(tmp, "in"))
	if err != nil {
		return c, err
	}
	defer f.Close()
	if c.SizeBytes, err = in.writeTo(f, false); err != nil {
		return c, err
	}
	start, err := readAt(f, 0, len(qcow2Magic))
	if err == nil && bytes.Equal(start, qcow2Magic) {
		// Nobody looked into it, so it must not be taken for a disk of ours.
		err = badf("The file is a disk image, not a kernel or ramdisk.")
	}
	if err != nil {
		return c, err
	}
	c.Hash, err = s.keep(ctx, f, ".bin", in.say)
	return c, err
}

func (s *Store) importDisk(ctx context.Context, in *input, tmp string) (c Content, err error) {
	f, err := os.Create(filepath.Join(tmp, "in"))
	if err != nil {
		return c, err
	}
	defer f.Close()
	n, err := in.writeTo(f, true)
	if err != nil {
		return c, err
	}
	img, err := inspect(f, n)
	if err != nil {
		return c, err
	}
	if err := s.checkSize(img.size); err != nil {
		return c, err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return c, context.Cause(ctx)
	}
	if err := s.convert(ctx, tmp, img, in.say); err != nil {
		return c, err
	}
	out, err := os.Open(filepath.Join(tmp, "out"))
	if err != nil {
		return c, err
	}
	defer out.Close()
	if c.SizeBytes, err = Qcow2Size(out.Name()); err != nil {
		return c, err
	}
	if err := s.checkSize(c.SizeBytes); err != nil { // what QEMU found
		return c, err
	}
	c.Hash, err = s.keep(ctx, out, ".qcow2", in.say)
	return c, err
}

func (s *Store) checkSize(n int64) error {
	switch {
	case n <= 0:
		return badf("The disk in the image is empty.")
	case n > s.opt.MaxSizeBytes:
		return badf("The disk in the image has %s, more than the %s that are allowed.", sizeText(n), sizeText(s.opt.MaxSizeBytes))
	}
	return nil
}

// convert makes the qcow2 "out" of "in".
func (s *Store) convert(ctx context.Context, tmp string, img image, say func(string, int64, int64)) error {
	if err := qemuCheck(ctx, tmp, "in", img.format); err != nil {
		return err
	}
	return qemuConvert(ctx, tmp, "in", img.format, "out", s.opt.MaxFileBytes, func(percent float64) {
		say("converting", int64(percent/100*float64(img.size)), img.size)
	})
}

// keep gives f its final name.
func (s *Store) keep(ctx context.Context, f *os.File, ext string, say func(string, int64, int64)) (string, error) {
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	in := &input{ctx: ctx, r: io.NewSectionReader(f, 0, fi.Size()), total: fi.Size(), max: fi.Size(), step: "hashing", say: say}
	if _, err := io.CopyBuffer(h, in, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	hash := hex.EncodeToString(h.Sum(nil))
	return hash, publish(f, filepath.Join(s.opt.Dir, hash+ext))
}
