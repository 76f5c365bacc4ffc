package disk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// seeds are the files that are taken, and those that are not.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	needTool(f, "qemu-img")
	makeSeeds.Do(func() {
		for _, b := range formats(f) {
			someSeeds = append(someSeeds, b)
		}
		for _, h := range hostile(f) {
			someSeeds = append(someSeeds, h.file)
		}
	})
	return someSeeds
}

var (
	makeSeeds sync.Once
	someSeeds [][]byte
)

func part(b []byte, from, n int) []byte {
	from = min(max(from, 0), len(b))
	return b[from:min(from+n, len(b))]
}

// wantSane checks what an inspection found: an error for the person who brought
// the file, or a size that is one.
func wantSane(t *testing.T, img image, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ErrBadImage) {
		t.Errorf("error = %v, want a bad image", err)
	}
	if err == nil && (img.format == "" || img.size < 0 || img.size > 1<<62) {
		t.Errorf("image = %+v", img)
	}
}

func FuzzInspect(f *testing.F) {
	for _, b := range seeds(f) {
		n := 12 << 10
		if bytes.HasPrefix(b, vhdxMagic) {
			n = vhdxRegions + vhdxTable
		}
		f.Add(part(b, 0, n))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := inspect(bytes.NewReader(b), int64(len(b)))
		wantSane(t, img, err)
	})
}

func FuzzQcow2(f *testing.F) {
	for _, b := range seeds(f) {
		if bytes.HasPrefix(b, qcow2Magic) {
			f.Add(part(b, 0, 1024), int64(len(b)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		img, err := inspectQcow2(b, max(size, 0))
		wantSane(t, img, err)
	})
}

func FuzzVMDK(f *testing.F) {
	for _, b := range seeds(f) {
		if bytes.HasPrefix(b, vmdkMagic) {
			f.Add(part(b, 0, 12<<10), part(b, len(b)-vmdkTail, vmdkTail), int64(len(b)))
		}
	}
	f.Fuzz(func(t *testing.T, head, tail []byte, size int64) {
		img, err := inspectVMDK(head, tail, max(size, 0))
		wantSane(t, img, err)
	})
}

func FuzzVHD(f *testing.F) {
	for _, b := range seeds(f) {
		if bytes.HasPrefix(b, vhdMagic) {
			f.Add(part(b, 0, sector), part(b, sector, vhdHeaderBytes), int64(len(b)))
		}
		f.Add(part(b, len(b)-sector, sector), []byte{}, int64(len(b)))
	}
	f.Fuzz(func(t *testing.T, footer, header []byte, size int64) {
		if img, ok := inspectFixedVHD(footer, max(size, 0)); ok {
			wantSane(t, img, nil)
		}
		if foot, ok := parseVHDFooter(footer); ok {
			wantSane(t, image{"vpc", int64(foot.size)}, checkVHDHeader(header, foot, max(size, 0)))
		}
	})
}

func FuzzVHDX(f *testing.F) {
	for _, b := range seeds(f) {
		if bytes.HasPrefix(b, vhdxMagic) {
			params := bytes.Index(b, vhdxParams)
			f.Add(part(b, vhdxRegions, vhdxTable), part(b, params&^(vhdxTable-1), 2*vhdxTable), int64(len(b)))
		}
	}
	f.Fuzz(func(t *testing.T, regions, metadata []byte, size int64) {
		if meta, err := parseVHDXRegions(regions, max(size, 0)); err == nil && !within(meta.offset, meta.length, size) {
			t.Errorf("metadata = %+v, beyond %d", meta, size)
		}
		size2, _, err := parseVHDXMetadata(metadata)
		wantSane(t, image{"vhdx", int64(size2)}, err)
	})
}

func FuzzRaw(f *testing.F) {
	for _, last := range []uint64{0, 100, 1 << 20, 1<<64 - 1} {
		f.Add(gptDisk(last), int64(1<<20))
	}
	f.Add(testDisk()[:sector], int64(diskBytes))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		img, err := inspectRaw(b, max(size, 0))
		wantSane(t, img, err)
		if len(b) >= sector && (mbrEnd(b) < 0 || gptEnd(b) < 0) {
			t.Errorf("partitions end at %d, %d", mbrEnd(b), gptEnd(b))
		}
	})
}

func FuzzUnpack(f *testing.F) {
	d := testDisk()[:20_000]
	f.Add(d)
	f.Add(gz(f, d))
	f.Add(zst(f, d))
	f.Add(pack(f, d, "xz"))
	f.Add(pack(f, d, "xz", "--x86", "--lzma2"))
	f.Add(pack(f, d, "bzip2"))
	f.Add(greedyXZ(f, d))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		const max = 1 << 20
		in := &input{ctx: t.Context(), r: bytes.NewReader(b), total: int64(len(b)), max: max, say: func(string, int64, int64) {}}
		n, err := in.writeTo(out, true)
		if err != nil && !errors.Is(err, ErrBadImage) || n > max {
			t.Errorf("%d bytes, error = %v", n, err)
		}
		if size, serr := out.Seek(0, io.SeekEnd); serr != nil || err == nil && size != n {
			t.Errorf("%d bytes of %d, %v", size, n, serr)
		}
	})
}
