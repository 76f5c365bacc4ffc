package disk

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// diskBytes is what testDisk has. It is none that cylinders divide.
const diskBytes = 4<<20 + 3*512

// testDisk is a raw disk with one partition, some content and many zeros.
func testDisk() []byte {
	b := make([]byte, diskBytes)
	r := rand.New(rand.NewPCG(1, 2))
	for _, at := range []int{0, 1 << 20, 3<<20 + 123, diskBytes - 700} {
		for i := at; i < min(at+300_000, diskBytes); i++ {
			b[i] = byte(r.Uint32() & 0x3f) // packs a little
		}
	}
	clear(b[446:510])
	p := b[446:]
	p[0], p[4] = 0x80, 0x83
	binary.LittleEndian.PutUint32(p[8:], 2048)
	binary.LittleEndian.PutUint32(p[12:], diskBytes/512-2048)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// gptDisk is the start of a raw disk with a GPT and a partition up to this sector.
func gptDisk(last uint64) []byte {
	b := make([]byte, 34*sector)
	b[510], b[511] = 0x55, 0xaa
	copy(b[512:], "EFI PART")
	b[512+72], b[512+80], b[512+84] = 2, 128, 128
	copy(b[1024:], "a partition type")
	binary.LittleEndian.PutUint64(b[1024+40:], last)
	return b
}

func needTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
}

func run(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	needTool(t, name)
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// as returns b, a raw disk, in another format.
func as(t testing.TB, b []byte, format string, options ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, b, dir, "in")
	run(t, dir, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", format}, options...), "in", "out")...)
	return read(t, dir, "out")
}

// formats are the test disk in all the formats that are taken.
func formats(t testing.TB) map[string][]byte {
	d := testDisk()
	return map[string][]byte{
		"raw":                  d,
		"qcow2":                as(t, d, "qcow2"),
		"qcow2 version 2":      as(t, d, "qcow2", "-o", "compat=0.10"),
		"qcow2 compressed":     as(t, d, "qcow2", "-c"),
		"qcow2 zstd":           as(t, d, "qcow2", "-c", "-o", "compression_type=zstd"),
		"qcow2 small clusters": as(t, d, "qcow2", "-o", "cluster_size=512"),
		"qcow2 extended":       as(t, d, "qcow2", "-o", "extended_l2=on"),
		"vmdk monolithic":      as(t, d, "vmdk", "-o", "subformat=monolithicSparse"),
		"vmdk stream":          as(t, d, "vmdk", "-o", "subformat=streamOptimized"),
		"vmdk with footer":     withFooter(as(t, d, "vmdk", "-o", "subformat=streamOptimized")),
		"vhd dynamic":          as(t, d, "vpc", "-o", "force_size=on"),
		"vhd fixed":            as(t, d, "vpc", "-o", "subformat=fixed,force_size=on"),
		"vhd with cylinders":   as(t, d, "vpc"),
		"vhdx":                 as(t, d, "vhdx"),
	}
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zst(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// pack runs a tool that packs its standard input.
func pack(t testing.TB, b []byte, tool ...string) []byte {
	t.Helper()
	needTool(t, tool[0])
	cmd := exec.Command(tool[0], tool[1:]...)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v", tool, err)
	}
	return out
}

// greedyXZ is an xz that wants 4 GiB of memory to unpack.
func greedyXZ(t testing.TB, b []byte) []byte {
	t.Helper()
	x := bytes.Clone(pack(t, b, "xz", "-T1"))
	block := x[12:] // behind the stream's header
	block = block[:4*(int(block[0])+1)]
	if block[2] != 0x21 || block[3] != 1 {
		t.Fatalf("xz wrote an unexpected block header: % x", block)
	}
	block[4] = 40
	n := len(block) - 4
	binary.LittleEndian.PutUint32(block[n:], crc32.ChecksumIEEE(block[:n]))
	return x
}

// edit returns b with other bytes at an offset.
func edit(b []byte, at int, to ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], to)
	return b
}

// withFooter returns the vmdk as those write it who don't go back to the header
// when they know where the grain directory is. qemu-img does.
func withFooter(b []byte) []byte {
	header := b[:sector]
	marker := make([]byte, sector)
	marker[0], marker[12] = 1, 3 // a sector follows, of type footer
	b = slices.Concat(b, make([]byte, -len(b)&(sector-1)), marker, header, make([]byte, sector))
	for i := range 8 {
		b[56+i] = 0xff
	}
	return b
}

// hostile returns files that must be refused, and what is said of them.
func hostile(t testing.TB) map[string]struct {
	file []byte
	want string
} {
	d := testDisk()
	dir := t.TempDir()
	write(t, d, dir, "base")
	img := func(args ...string) []byte {
		run(t, dir, "qemu-img", append([]string{"create", "-q"}, args...)...)
		defer os.Remove(filepath.Join(dir, "x"))
		return read(t, dir, "x")
	}
	qcow2, vmdk, stream := as(t, d, "qcow2"), as(t, d, "vmdk"), as(t, d, "vmdk", "-o", "subformat=streamOptimized")
	footer := withFooter(stream)
	vhd, fixed, vhdx := as(t, d, "vpc"), as(t, d, "vpc", "-o", "subformat=fixed"), as(t, d, "vhdx")
	vhdDiff := edit(vhd, 63, vhdDiffers)
	vhdDiff = edit(vhdDiff, 64, binary.BigEndian.AppendUint32(nil, vhdChecksum(vhdDiff[:512], 64))...)
	params := bytes.Index(vhdx, vhdxParams)
	meta := params &^ (vhdxTable - 1)
	paramsAt := meta + int(binary.LittleEndian.Uint32(vhdx[params+16:]))
	swap := func(b []byte, from, to string) []byte {
		if len(to) > len(from) {
			t.Fatalf("%q is longer than %q", to, from)
		}
		return bytes.Replace(b, []byte(from), append([]byte(to), bytes.Repeat([]byte(" "), len(from)-len(to))...), 1)
	}
	zeros := make([]byte, 17<<20)
	cut := func(b []byte) []byte { return b[:len(b)-300_000] }
	type file = struct {
		file []byte
		want string
	}
	return map[string]file{
		"empty":                  {nil, "is empty"},
		"text":                   {[]byte("#!/bin/sh\necho hello\n"), "no disk image"},
		"long text":              {bytes.Repeat([]byte("hello "), 100_000), "no disk image"},
		"tar":                    {edit(make([]byte, 10240), 257, []byte("ustar")...), "OVA"},
		"zip":                    {[]byte("PK\x03\x04 and so on"), "zip"},
		"vdi":                    {as(t, d, "vdi"), "vdi"},
		"qed":                    {as(t, d, "qed"), "qed"},
		"raw cut off":            {d[:1<<20], "cut off"},
		"raw gpt cut off":        {gptDisk(34), "cut off"},
		"gz of text":             {gz(t, []byte("hello")), "no disk image"},
		"gz cut off":             {gz(t, d)[:100_000], "decompressed"},
		"gz damaged":             {edit(gz(t, d), 100_000, make([]byte, 100)...), "decompressed"},
		"gz of gz":               {gz(t, gz(t, d)), "no disk image"},
		"gz bomb":                {gz(t, zeros), "more than 16 MiB"},
		"zst bomb":               {zst(t, zeros), "more than 16 MiB"},
		"xz bomb":                {pack(t, zeros, "xz"), "more than 16 MiB"},
		"bz2 bomb":               {pack(t, zeros, "bzip2"), "more than 16 MiB"},
		"xz of much memory":      {greedyXZ(t, d), "dictionary size exceeds"},
		"zst of much memory":     {edit(zst(t, d), 5, 0xa8), "window size exceeded"},
		"qcow2 bomb":             {as(t, bytes.Repeat([]byte("bomb"), 5<<20), "qcow2", "-c"), "more content"},
		"qcow2 with backing":     {img("-f", "qcow2", "-b", "base", "-F", "raw", "x"), "backing file"},
		"qcow2 with data file":   {img("-f", "qcow2", "-o", "data_file=data", "x", "1M"), "another file"},
		"qcow2 with data name":   {edit(img("-f", "qcow2", "-o", "data_file=data", "x", "1M"), 79, 0), "another file"},
		"qcow2 encrypted":        {edit(qcow2, 35, 2), "encrypted"},
		"qcow2 of much":          {img("-f", "qcow2", "x", "3T"), "3 TiB, more than the 2 TiB"},
		"qcow2 of nothing":       {img("-f", "qcow2", "x", "0"), "empty"},
		"qcow2 corrupt":          {edit(qcow2, 79, qcow2Corrupt), "corrupt"},
		"qcow2 of the future":    {edit(qcow2, 72, 1), "unknown features"},
		"qcow2 cut off":          {cut(qcow2), "cut off"},
		"qcow2 of a header":      {qcow2[:512], "cut off"},
		"qcow2 of half a header": {qcow2[:50], "damaged"},
		"qcow2 version 1":        {edit(qcow2, 7, 1), "version 1"},
		"qcow2 with bad L1":      {edit(qcow2, 196608, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0), "damaged"},
		"vmdk descriptor":        {img("-f", "vmdk", "-o", "subformat=monolithicFlat", "x", "1M"), "points to other files"},
		"vmdk empty extent":      {edit(vmdk, 12, make([]byte, 8)...), "no content of its own"},
		"vmdk flat extent":       {swap(vmdk, `SPARSE "out"`, `FLAT "/etc"`), "another file"},
		"vmdk more extents":      {swap(vmdk, "# The Disk Data Base", "\nRW 1 SPARSE \"b\"\n"), "2 extents"},
		"vmdk split":             {swap(vmdk, `"monolithicSparse"`, `"vmfsSparse"`), "vmfssparse"},
		"vmdk with parent":       {swap(vmdk, "ffffffff", "12345678"), "parent"},
		"vmdk with parent hint":  {swap(vmdk, "ddb.virtualHWVersion", "parentFileNameHint"), "parent"},
		"vmdk part":              {edit(vmdk, 28, make([]byte, 8)...), "several files"},
		"vmdk cut off":           {vmdk[:70_000], "cut off"},
		"vmdk stream cut off":    {cut(stream), "cut off"},
		"vmdk footer cut off":    {footer[:len(footer)-512], "whole header"},
		"vmdk other footer":      {edit(footer, len(footer)-1024+12, 99), "footer"},
		"vmdk of much":           {edit(vmdk, 12, 0, 0, 0, 0, 2, 0), "more than the 2 TiB"},
		"vhd with parent":        {vhdDiff, "parent"},
		"vhd damaged":            {edit(vhd, 50, 1), "checksum"},
		"vhd cut off":            {vhd[:1000], "cut off"},
		"vhd without blocks":     {cut(vhd), "cannot open the vpc"},
		"vhd fixed cut off":      {cut(fixed)[:1<<20], "cut off"},
		"vhdx with parent":       {edit(vhdx, paramsAt+4, vhdxHasParent), "parent"},
		"vhdx cut off":           {vhdx[:1<<20], "cut off"},
		"vhdx header":            {vhdx[:100], "cut off"},
		"vhdx without regions":   {edit(vhdx, vhdxRegions, 'x'), "regions"},
	}
}
