package disk

import (
	"bytes"
	"encoding/binary"
	"io"
)

// Virtual Hard Disk Image Format Specification 1.0 (Microsoft).

var vhdMagic = []byte("conectix")

const (
	vhdFixed   = 2
	vhdDynamic = 3
	vhdDiffers = 4

	vhdHeaderBytes = 1024
	vhdMaxBlock    = 256 << 20 // 2 MiB is usual
)

// A vhdFooter is what a fixed VHD ends with; a dynamic one begins with a copy.
type vhdFooter struct {
	kind       uint32
	size       uint64 // virtual
	dataOffset uint64
}

func parseVHDFooter(b []byte) (f vhdFooter, ok bool) {
	if len(b) < sector || !bytes.HasPrefix(b, vhdMagic) {
		return f, false
	}
	be := binary.BigEndian
	f.dataOffset = be.Uint64(b[16:])
	f.size = be.Uint64(b[48:])
	f.kind = be.Uint32(b[60:])
	return f, be.Uint32(b[64:]) == vhdChecksum(b[:sector], 64) && f.size <= 1<<62
}

// vhdChecksum adds up all bytes but those of the sum itself.
func vhdChecksum(b []byte, at int) (sum uint32) {
	for i, c := range b {
		if i < at || i >= at+4 {
			sum += uint32(c)
		}
	}
	return ^sum
}

// inspectVHD looks at a VHD that begins with a copy of its footer.
func inspectVHD(r io.ReaderAt, head []byte, size int64) (image, error) {
	f, ok := parseVHDFooter(head)
	switch {
	case !ok:
		return image{}, badf("The vhd image is damaged: its footer's copy has a wrong checksum.")
	case f.kind == vhdDiffers:
		return image{}, badf("The vhd image has a parent: merge it into a single file first.")
	case f.kind != vhdDynamic:
		return image{}, badf("The vhd image has the unknown type %d.", f.kind)
	case !within(f.dataOffset, vhdHeaderBytes, size):
		return image{}, cutOff("vhd")
	}
	b, err := readAt(r, int64(f.dataOffset), vhdHeaderBytes)
	if err != nil {
		return image{}, err
	}
	if err := checkVHDHeader(b, f, size); err != nil {
		return image{}, err
	}
	return image{format: "vpc", size: int64(f.size)}, nil
}

// checkVHDHeader checks the dynamic disk header, and that the table of blocks
// is there and has as many entries as the disk needs.
func checkVHDHeader(b []byte, f vhdFooter, size int64) error {
	if len(b) < vhdHeaderBytes || !bytes.HasPrefix(b, []byte("cxsparse")) {
		return badf("The vhd image is damaged: it has no dynamic disk header.")
	}
	be := binary.BigEndian
	table, entries, block := be.Uint64(b[16:]), uint64(be.Uint32(b[28:])), uint64(be.Uint32(b[32:]))
	switch {
	case block < sector || block > vhdMaxBlock || block&(block-1) != 0:
		return badf("The vhd image's block size of %d bytes is out of range.", block)
	case entries < (f.size+block-1)/block:
		return badf("The vhd image is damaged: its table is too small for its size.")
	case !within(table, 4*entries, size):
		return cutOff("vhd")
	}
	return nil
}

// inspectFixedVHD says whether the file ends like a fixed VHD, which is a raw
// disk with a footer.
func inspectFixedVHD(tail []byte, size int64) (image, bool) {
	if len(tail) < sector {
		return image{}, false
	}
	f, ok := parseVHDFooter(tail[len(tail)-sector:])
	return image{format: "vpc", size: int64(f.size)}, ok && f.kind == vhdFixed && within(0, f.size+sector, size)
}
