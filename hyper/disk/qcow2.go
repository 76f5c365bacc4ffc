package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxQcow2Header bounds what is read of a qcow2's header and its extensions.
// They must fit in the first cluster, and clusters have at most 2 MiB.
const maxQcow2Header = 2 << 20

// Incompatible features (docs/interop/qcow2.txt of QEMU, "incompatible_features").
const (
	qcow2Dirty         = 1 << 0
	qcow2Corrupt       = 1 << 1
	qcow2ExternalData  = 1 << 2
	qcow2Compression   = 1 << 3 // not deflate: zstd
	qcow2ExtendedL2    = 1 << 4
	qcow2KnownFeatures = qcow2Dirty | qcow2Corrupt | qcow2ExternalData | qcow2Compression | qcow2ExtendedL2
)

const qcow2DataFileExtension = 0x44415441

var qcow2Magic = []byte("QFI\xfb")

// A qcow2Header is the part of a qcow2's header that decides whether we take it.
type qcow2Header struct {
	version      uint32
	backing      bool
	dataFile     bool
	clusterBits  uint32
	size         uint64 // virtual
	encryption   uint32
	snapshots    uint32
	incompatible uint64
	end          uint64 // the furthest byte the header points to
}

// parseQcow2 reads the header at the beginning of b, which holds the first
// bytes of a file of fileSize bytes.
func parseQcow2(b []byte) (h qcow2Header, err error) {
	if len(b) < 72 || string(b[:4]) != string(qcow2Magic) {
		return h, errors.New("no qcow2 header")
	}
	be := binary.BigEndian
	h.version = be.Uint32(b[4:])
	h.backing = be.Uint64(b[8:]) != 0 || be.Uint32(b[16:]) != 0
	h.clusterBits = be.Uint32(b[20:])
	h.size = be.Uint64(b[24:])
	h.encryption = be.Uint32(b[32:])
	l1Size, l1Offset := uint64(be.Uint32(b[36:])), be.Uint64(b[40:])
	refOffset, refClusters := be.Uint64(b[48:]), uint64(be.Uint32(b[56:]))
	h.snapshots = be.Uint32(b[60:])
	headerLen := uint32(72)
	switch h.version {
	case 2:
	case 3:
		if len(b) < 104 {
			return h, errors.New("qcow2 header is cut off")
		}
		h.incompatible = be.Uint64(b[72:])
		headerLen = be.Uint32(b[100:])
	default:
		return h, fmt.Errorf("qcow2 version %d is unknown", h.version)
	}
	if h.clusterBits < 9 || h.clusterBits > 21 {
		return h, fmt.Errorf("qcow2 cluster size of 2^%d bytes is out of range", h.clusterBits)
	}
	if headerLen < 72 || uint64(headerLen) > 1<<h.clusterBits {
		return h, fmt.Errorf("qcow2 header length %d is out of range", headerLen)
	}
	cluster := uint64(1) << h.clusterBits
	const maxOffset = 1 << 56 // as QEMU has it
	if l1Offset > maxOffset || refOffset > maxOffset || l1Offset%cluster != 0 || refOffset%cluster != 0 {
		return h, errors.New("qcow2 header points outside of the file")
	}
	h.end = max(l1Offset+8*l1Size, refOffset+refClusters*cluster)
	h.dataFile = h.incompatible&qcow2ExternalData != 0 || hasDataFile(b, headerLen)
	return h, nil
}

// hasDataFile looks for the header extension that names an external data file.
func hasDataFile(b []byte, at uint32) bool {
	for uint64(at)+8 <= uint64(len(b)) {
		kind, n := binary.BigEndian.Uint32(b[at:]), binary.BigEndian.Uint32(b[at+4:])
		if kind == qcow2DataFileExtension {
			return true
		}
		if kind == 0 || uint64(n) > uint64(len(b)) {
			return false
		}
		at += 8 + (n+7)&^7
	}
	return false
}

// Qcow2Size returns the size in bytes that the guest sees of the qcow2 at path.
func Qcow2Size(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [512]byte
	n, err := io.ReadFull(f, b[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	h, err := parseQcow2(b[:n])
	if err == nil && h.size > 1<<62 {
		err = fmt.Errorf("qcow2 size of %d bytes is out of range", h.size)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return int64(h.size), nil
}

// inspectQcow2 refuses what leads to other files and what QEMU could not read.
// Internal snapshots are taken: a conversion leaves them behind.
func inspectQcow2(head []byte, size int64) (image, error) {
	h, err := parseQcow2(head)
	switch {
	case err != nil:
		return image{}, badf("The qcow2 image is damaged: %v.", err)
	case h.backing:
		return image{}, badf("The qcow2 image has a backing file: make one of both with qemu-img convert.")
	case h.dataFile:
		return image{}, badf("The qcow2 image keeps its content in another file: make one of both with qemu-img convert.")
	case h.encryption != 0:
		return image{}, badf("The qcow2 image is encrypted.")
	case h.incompatible&qcow2Corrupt != 0:
		return image{}, badf("The qcow2 image is marked as corrupt: see qemu-img check -r all.")
	case h.incompatible&^qcow2KnownFeatures != 0:
		return image{}, badf("The qcow2 image has the unknown features %#x.", h.incompatible&^qcow2KnownFeatures)
	case h.size > 1<<62:
		return image{}, badf("The qcow2 image has a size that is out of range.")
	case h.end > uint64(size):
		return image{}, cutOff("qcow2")
	}
	return image{format: "qcow2", size: int64(h.size)}, nil
}
