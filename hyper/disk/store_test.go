package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"
)

func openStore(t testing.TB, opt StoreOptions) *Store {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = filepath.Join(t.TempDir(), "images")
	}
	s, err := OpenStore(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func importBytes(t testing.TB, s *Store, b []byte, kind string) (Content, error) {
	t.Helper()
	return s.Import(t.Context(), bytes.NewReader(b), int64(len(b)), kind, nil)
}

// wantStored checks that the content is a sound qcow2 of its own that has the
// bytes of the test disk.
func wantStored(t *testing.T, s *Store, c Content) {
	t.Helper()
	path, ok := s.Path(c.Hash)
	if !ok {
		t.Fatalf("there is no %s", c.Hash)
	}
	if sum := sha256.Sum256(read(t, path)); hex.EncodeToString(sum[:]) != c.Hash {
		t.Errorf("hash = %s, the file has %x", c.Hash, sum)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode() != 0o644 {
		t.Errorf("mode = %v, want 0644", fi.Mode())
	}
	out, err := exec.Command("qemu-img", "info", "--output=json", "-f", "qcow2", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Size      int64  `json:"virtual-size"`
		Backing   string `json:"backing-filename"`
		Snapshots []any  `json:"snapshots"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		t.Fatal(err)
	}
	if info.Size != c.SizeBytes || info.Size < diskBytes || info.Backing != "" || len(info.Snapshots) > 0 {
		t.Errorf("info = %+v, content = %+v", info, c)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	write(t, testDisk(), raw)
	// What a format rounds the disk up by is zero.
	run(t, ".", "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path)
	run(t, ".", "qemu-img", "check", "-q", "-f", "qcow2", path)
}

func TestImport(t *testing.T) {
	needTool(t, "qemu-img")
	packings := map[string]func(b []byte) []byte{
		"as is": func(b []byte) []byte { return b },
		"gz":    func(b []byte) []byte { return gz(t, b) },
		"xz":    func(b []byte) []byte { return pack(t, b, "xz", "-1") },
		"zst":   func(b []byte) []byte { return zst(t, b) },
		"bz2":   func(b []byte) []byte { return pack(t, b, "bzip2", "-1") },
	}
	for format, b := range formats(t) {
		for packing, pack := range packings {
			if packing != "as is" && strings.HasPrefix(format, "qcow2 ") {
				continue // packings don't know versions of qcow2
			}
			packed := pack(b)
			t.Run(format+" "+packing, func(t *testing.T) {
				t.Parallel()
				s := openStore(t, StoreOptions{})
				c, err := importBytes(t, s, packed, "machine")
				if err != nil {
					t.Fatal(err)
				}
				if c.SizeBytes != diskBytes && format != "vhd with cylinders" {
					t.Errorf("size = %d, want %d", c.SizeBytes, diskBytes)
				}
				wantStored(t, s, c)
			})
		}
	}
}

func TestImportConcatenated(t *testing.T) {
	t.Parallel()
	needTool(t, "qemu-img")
	d := testDisk()
	half := len(d) / 2
	for name, b := range map[string][]byte{
		"gz":  append(gz(t, d[:half]), gz(t, d[half:])...),
		"zst": append(zst(t, d[:half]), zst(t, d[half:])...),
		"xz":  append(pack(t, d[:half], "xz"), pack(t, d[half:], "xz")...),
		"bz2": append(pack(t, d[:half], "bzip2"), pack(t, d[half:], "bzip2")...),
	} {
		s := openStore(t, StoreOptions{})
		c, err := importBytes(t, s, b, "machine")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantStored(t, s, c)
	}
}

func TestImportWithSnapshots(t *testing.T) {
	t.Parallel()
	needTool(t, "qemu-img")
	dir := t.TempDir()
	write(t, as(t, testDisk(), "qcow2"), dir, "q")
	run(t, dir, "qemu-img", "snapshot", "-c", "before", "q")
	s := openStore(t, StoreOptions{})
	c, err := importBytes(t, s, read(t, dir, "q"), "machine")
	if err != nil {
		t.Fatal(err)
	}
	wantStored(t, s, c)
}

func TestImportTellsProgress(t *testing.T) {
	t.Parallel()
	needTool(t, "qemu-img")
	var steps []string
	last := map[string][2]int64{}
	b := gz(t, testDisk())
	_, err := openStore(t, StoreOptions{}).Import(t.Context(), iotest.HalfReader(bytes.NewReader(b)), int64(len(b)), "machine", func(step string, done, total int64) {
		if _, ok := last[step]; !ok {
			steps = append(steps, step)
		}
		if done < last[step][0] {
			t.Errorf("%s went back from %d to %d", step, last[step][0], done)
		}
		last[step] = [2]int64{done, total}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(steps, " "); got != "reading converting hashing" {
		t.Errorf("steps = %s", got)
	}
	for step, p := range last {
		if p[0] != p[1] {
			t.Errorf("%s ended at %d of %d", step, p[0], p[1])
		}
	}
}

func TestImportRefuses(t *testing.T) {
	needTool(t, "qemu-img")
	for name, tt := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, StoreOptions{MaxFileBytes: 16 << 20})
			_, err := importBytes(t, s, tt.file, "machine")
			if !errors.Is(err, ErrBadImage) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want a bad image: %s", err, tt.want)
			}
			t.Log(err)
			wantEmpty(t, s.opt.Dir)
		})
	}
}

func TestImportBrokenTransfer(t *testing.T) {
	t.Parallel()
	d := testDisk()
	s := openStore(t, StoreOptions{})
	if _, err := s.Import(t.Context(), bytes.NewReader(d[:1<<20]), diskBytes, "machine", nil); !errors.Is(err, ErrBadImage) || !strings.Contains(err.Error(), "1048576 of its 4195840 bytes") {
		t.Errorf("error = %v, want that the file was cut off", err)
	}
	for _, b := range [][]byte{d, gz(t, d)} {
		r := io.MultiReader(bytes.NewReader(b[:100_000]), iotest.ErrReader(syscall.ECONNRESET))
		if _, err := s.Import(t.Context(), r, -1, "machine", nil); !errors.Is(err, syscall.ECONNRESET) || errors.Is(err, ErrBadImage) {
			t.Errorf("error = %v, want the reader's", err)
		}
	}
	wantEmpty(t, s.opt.Dir)
}

func TestImportKernel(t *testing.T) {
	t.Parallel()
	s := openStore(t, StoreOptions{MaxKernelBytes: 1 << 20})
	kernel := gz(t, testDisk()[:500_000]) // a ramdisk is packed, and stays so
	for _, kind := range []string{"kernel", "ramdisk"} {
		c, err := importBytes(t, s, kernel, kind)
		if err != nil {
			t.Fatal(err)
		}
		path, ok := s.Path(c.Hash)
		if !ok || !bytes.Equal(read(t, path), kernel) || c.SizeBytes != int64(len(kernel)) || filepath.Ext(path) != ".bin" {
			t.Errorf("%s: content = %+v, path = %s", kind, c, path)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "long": make([]byte, 1<<20+1), "a disk": []byte("QFI\xfb and so on")} {
		if _, err := importBytes(t, s, b, "kernel"); !errors.Is(err, ErrBadImage) {
			t.Errorf("%s: error = %v, want a bad image", name, err)
		}
	}
	if _, err := importBytes(t, s, kernel, "floppy"); err == nil || errors.Is(err, ErrBadImage) {
		t.Errorf("error = %v, want that the kind is unknown", err)
	}
	if files, _ := os.ReadDir(s.opt.Dir); len(files) != 1 {
		t.Errorf("files = %v, want one", files)
	}
}

func TestImportCancelled(t *testing.T) {
	t.Parallel()
	needTool(t, "qemu-img")
	for _, at := range []string{"reading", "converting", "hashing"} {
		ctx, cancel := context.WithCancel(t.Context())
		s := openStore(t, StoreOptions{})
		var seen string
		_, err := s.Import(ctx, bytes.NewReader(testDisk()), diskBytes, "machine", func(step string, _, _ int64) {
			if seen = step; step == at {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) || seen != at {
			t.Errorf("cancelled while %s: error = %v while %s", at, err, seen)
		}
		wantEmpty(t, s.opt.Dir)
	}
}

func TestImportFullDisk(t *testing.T) {
	needTool(t, "qemu-img")
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	dir := t.TempDir()
	// The mount is this thread's alone, and goes with it.
	runtime.LockOSThread()
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		t.Skipf("needs a mount namespace: %v", err)
	}
	if err := unix.Mount("eucad-test", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("needs to mount a small file system: %v", err)
	}
	defer unix.Unmount(dir, 0)
	s := openStore(t, StoreOptions{Dir: dir})
	noise := testDisk()
	for i := 1 << 20; i < 4<<20; i++ {
		noise[i] = 'x' // small when it is compressed
	}
	for name, b := range map[string][]byte{"read": noise, "convert": as(t, noise, "qcow2", "-c")} {
		_, err := importBytes(t, s, b, "machine")
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrBadImage) || !strings.Contains(err.Error(), "free some space") {
			t.Errorf("%s: error = %v, want that the disk is full", name, err)
		}
		wantEmpty(t, dir)
	}
	c := newCache(t, CacheOptions{Dir: dir, Fetch: func(_ context.Context, _ string, w io.Writer) error {
		_, err := w.Write(noise)
		return err
	}})
	// Not Get, for that fetches in another thread.
	if err := c.fetch(t.Context(), hashOf(noise), filepath.Join(dir, hashOf(noise))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("fetch: error = %v, want that the disk is full", err)
	}
	wantEmpty(t, dir)
}

func TestOpenStoreSweeps(t *testing.T) {
	t.Parallel()
	s := openStore(t, StoreOptions{})
	c, err := importBytes(t, s, []byte("a kernel"), "kernel")
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(s.opt.Dir, tempPrefix+"1")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, []byte("half"), left, "in")
	s = openStore(t, StoreOptions{Dir: s.opt.Dir})
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what an import left is there still: %v", err)
	}
	if _, ok := s.Path(c.Hash); !ok {
		t.Error("the kernel is gone")
	}
	for _, hash := range []string{"", "..", "../" + c.Hash, strings.Repeat("0", 64)} {
		if path, ok := s.Path(hash); ok {
			t.Errorf("Path(%q) = %s", hash, path)
		}
	}
}

// TestImportAgain: an import of what is there makes it young again, so that it
// is not collected before somebody refers to it.
func TestImportAgain(t *testing.T) {
	t.Parallel()
	s := openStore(t, StoreOptions{})
	c, err := importBytes(t, s, []byte("a kernel"), "kernel")
	if err != nil {
		t.Fatal(err)
	}
	path, _ := s.Path(c.Hash)
	old := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if again, err := importBytes(t, s, []byte("a kernel"), "kernel"); err != nil || again != c {
		t.Fatalf("content = %+v, %v, want %+v", again, err, c)
	}
	if fi, err := os.Stat(path); err != nil || time.Since(fi.ModTime()) > time.Hour {
		t.Errorf("%v, %v: still old", fi, err)
	}
}
