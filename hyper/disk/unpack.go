package disk

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// What a decompressor may remember, and so how much memory it takes: as much
// as "xz -9" and "zstd --long" want.
const (
	maxXZWindow   = 64 << 20
	maxZstdWindow = 128 << 20
)

// unpack returns the content of r, which is decompressed when it begins like
// something that is compressed; packing names it then.
func unpack(r *bufio.Reader) (content io.ReadCloser, packing string, err error) {
	magic, _ := r.Peek(6) // a shorter file is none of these
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b\x08")):
		z, err := gzip.NewReader(r)
		return z, "gzip", err
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		z, err := xz.NewReader(r, maxXZWindow)
		return io.NopCloser(z), "xz", err
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, "zstd", err
		}
		return z.IOReadCloser(), "zstd", nil
	case bytes.HasPrefix(magic, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(r)), "bzip2", nil
	}
	return io.NopCloser(r), "", nil
}

// An input is the file that somebody brings, as it comes in.
type input struct {
	ctx   context.Context
	r     io.Reader
	done  int64
	total int64 // -1: not known
	max   int64
	step  string
	say   func(step string, done, total int64)
	eof   bool
	err   error // what else ended it
}

func (in *input) Read(b []byte) (int, error) {
	if in.err = context.Cause(in.ctx); in.err != nil {
		return 0, in.err
	}
	n, err := in.r.Read(b)
	in.done += int64(n)
	if in.done > in.max {
		err = tooLong(in.max)
	}
	if in.eof = err == io.EOF; !in.eof {
		in.err = err
	}
	in.say(in.step, in.done, in.total)
	return n, err
}

func tooLong(max int64) error { return badf("The file has more than %s.", sizeText(max)) }

// writeTo keeps the input, decompressed if packed says that it may be, in f,
// and returns the length of that.
func (in *input) writeTo(f *os.File, packed bool) (int64, error) {
	br := bufio.NewReaderSize(in, 64<<10)
	content, packing := io.NopCloser(io.Reader(br)), ""
	var err error
	if packed {
		content, packing, err = unpack(br)
	}
	out := sparseFile{f: f, max: in.max}
	if err == nil {
		defer content.Close()
		// Without the methods that would choose the length of writes.
		_, err = io.CopyBuffer(struct{ io.Writer }{&out}, struct{ io.Reader }{content}, make([]byte, 1<<20))
	}
	switch {
	case in.err != nil:
		return 0, in.err // whatever a decompressor made of it
	case out.err != nil:
		return 0, out.err
	case in.eof && in.done < in.total:
		return 0, badf("The file was cut off: only %d of its %d bytes came.", in.done, in.total)
	case err != nil:
		return 0, badf("The file cannot be decompressed: it is not whole, or not good %s (%v).", packing, err)
	case out.size == 0:
		return 0, badf("The file is empty.")
	}
	return out.size, f.Truncate(out.size)
}

// A sparseFile writes to a file from its start, and leaves holes where there
// are only zeros.
type sparseFile struct {
	f         *os.File
	size, max int64
	err       error
}

var zeros [64 << 10]byte

func (s *sparseFile) Write(b []byte) (int, error) {
	if s.size+int64(len(b)) > s.max {
		s.err = tooLong(s.max)
		return 0, s.err
	}
	for part := range slices.Chunk(b, len(zeros)) {
		if !bytes.Equal(part, zeros[:len(part)]) {
			if _, s.err = s.f.WriteAt(part, s.size); s.err != nil {
				return 0, s.err
			}
		}
		s.size += int64(len(part))
	}
	return len(b), nil
}
