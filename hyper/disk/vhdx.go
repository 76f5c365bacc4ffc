package disk

import (
	"bytes"
	"encoding/binary"
	"io"
)

// [MS-VHDX]: Virtual Hard Disk v2 (VHDX) File Format.

var (
	vhdxMagic = []byte("vhdxfile")

	// GUIDs as they are stored.
	vhdxMetadata = []byte("\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e")
	vhdxParams   = []byte("\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b")
	vhdxSize     = []byte("\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8")
	vhdxParent   = []byte("\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c")
)

const (
	vhdxRegions    = 192 << 10 // where the table of regions is
	vhdxTable      = 64 << 10  // and how long; the table of metadata too
	vhdxMaxEntries = 2047
	vhdxHasParent  = 1 << 1

	// vhdxMaxMetadata is how much of the metadata is read: all items have
	// together at most 1 MiB behind their table.
	vhdxMaxMetadata = 1<<20 + vhdxTable
)

// A vhdxRegion is a part of the file.
type vhdxRegion struct{ offset, length uint64 }

// parseVHDXRegions returns where the metadata is. All regions must be within
// the file.
func parseVHDXRegions(b []byte, size int64) (meta vhdxRegion, err error) {
	le := binary.LittleEndian
	if len(b) < vhdxTable {
		return meta, cutOff("vhdx")
	}
	n := le.Uint32(b[8:])
	if !bytes.HasPrefix(b, []byte("regi")) || n > vhdxMaxEntries {
		return meta, badf("The vhdx image is damaged: it has no table of regions.")
	}
	for i := range int(n) {
		e := b[16+32*i:]
		r := vhdxRegion{le.Uint64(e[16:]), uint64(le.Uint32(e[24:]))}
		if !within(r.offset, r.length, size) {
			return meta, cutOff("vhdx")
		}
		if bytes.HasPrefix(e, vhdxMetadata) {
			meta = r
		}
	}
	if meta.length < vhdxTable {
		return meta, badf("The vhdx image is damaged: it has no metadata.")
	}
	return meta, nil
}

// parseVHDXMetadata returns the virtual size from the region of metadata, and
// whether the disk has a parent.
func parseVHDXMetadata(b []byte) (size uint64, parent bool, err error) {
	le := binary.LittleEndian
	if len(b) < vhdxTable {
		return 0, false, cutOff("vhdx")
	}
	n := le.Uint16(b[10:])
	if !bytes.HasPrefix(b, []byte("metadata")) || n > vhdxMaxEntries {
		return 0, false, badf("The vhdx image is damaged: it has no table of metadata.")
	}
	for i := range int(n) {
		e := b[32+32*i:]
		at := uint64(le.Uint32(e[16:]))
		switch {
		case bytes.HasPrefix(e, vhdxParent):
			parent = true
		case !bytes.HasPrefix(e, vhdxSize) && !bytes.HasPrefix(e, vhdxParams):
		case !within(at, 8, int64(len(b))):
			return 0, false, badf("The vhdx image is damaged: its metadata points elsewhere.")
		case bytes.HasPrefix(e, vhdxSize):
			size = le.Uint64(b[at:])
		case le.Uint32(b[at+4:])&vhdxHasParent != 0:
			parent = true
		}
	}
	if size == 0 || size > 1<<62 {
		return 0, false, badf("The vhdx image has a size that is out of range.")
	}
	return size, parent, nil
}

func inspectVHDX(r io.ReaderAt, head []byte, size int64) (image, error) {
	if len(head) < vhdxRegions+vhdxTable {
		return image{}, cutOff("vhdx")
	}
	meta, err := parseVHDXRegions(head[vhdxRegions:], size)
	if err != nil {
		return image{}, err
	}
	b, err := readAt(r, int64(meta.offset), int(min(meta.length, vhdxMaxMetadata)))
	if err != nil {
		return image{}, err
	}
	virtual, parent, err := parseVHDXMetadata(b)
	if err != nil {
		return image{}, err
	}
	if parent {
		return image{}, badf("The vhdx image has a parent: merge it into a single file first.")
	}
	return image{format: "vhdx", size: int64(virtual)}, nil
}
