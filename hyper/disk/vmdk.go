package disk

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Virtual Disk Format 5.0 (VMware), and block/vmdk.c of QEMU.

var vmdkMagic = []byte("KDMV")

const (
	vmdkTail        = 3 * sector // footer marker, footer, end of stream
	vmdkMaxVersion  = 3
	vmdkAtEnd       = 1<<64 - 1 // the grain directory is where the footer says
	vmdkQEMU        = 20 * sector
	vmdkMaxSectors  = 1 << 53
	vmdkHeaderBytes = 79
)

// A vmdkHeader is the part of the header of a sparse extent that decides
// whether we take it. Offsets are in sectors.
type vmdkHeader struct {
	version                    uint32
	capacity                   uint64
	descriptor, descriptorSize uint64
	directory, grains          uint64
}

func parseVMDK(b []byte) (h vmdkHeader, err error) {
	if len(b) < vmdkHeaderBytes || !bytes.HasPrefix(b, vmdkMagic) {
		return h, badf("The vmdk image was cut off: it has no whole header.")
	}
	le := binary.LittleEndian
	h.version = le.Uint32(b[4:])
	h.capacity = le.Uint64(b[12:])
	h.descriptor, h.descriptorSize = le.Uint64(b[28:]), le.Uint64(b[36:])
	h.directory, h.grains = le.Uint64(b[56:]), le.Uint64(b[64:])
	switch {
	case h.version == 0 || h.version > vmdkMaxVersion:
		return h, badf("The vmdk image has the unknown version %d.", h.version)
	case h.capacity == 0:
		// QEMU takes it for a descriptor then, with all the files that names.
		return h, badf("The vmdk image has no content of its own.")
	case h.capacity > vmdkMaxSectors:
		return h, badf("The vmdk image has a size that is out of range.")
	}
	return h, nil
}

func inspectVMDK(head, tail []byte, size int64) (image, error) {
	h, err := parseVMDK(head)
	if err != nil {
		return image{}, err
	}
	if h.directory == vmdkAtEnd {
		if len(tail) < vmdkTail {
			return image{}, cutOff("vmdk")
		}
		// QEMU believes the footer from here on.
		foot, err := parseVMDK(tail[sector:])
		if err != nil {
			return image{}, err
		}
		if foot.capacity != h.capacity {
			return image{}, badf("The vmdk image's footer does not belong to its header.")
		}
		h.directory, h.grains = foot.directory, foot.grains
	}
	sectors := uint64(size) / sector
	if h.directory >= sectors || h.grains > sectors {
		return image{}, cutOff("vmdk")
	}
	if err := checkDescriptor(head, h); err != nil {
		return image{}, err
	}
	return image{format: "vmdk", size: int64(h.capacity) * sector}, nil
}

// checkDescriptor refuses an image whose descriptor names other files: parts of
// the disk, or a parent.
func checkDescriptor(head []byte, h vmdkHeader) error {
	n := uint64(len(head)) / sector
	if h.descriptor == 0 || h.descriptor > n || h.descriptorSize > n-h.descriptor {
		return badf("The vmdk image is one of several files of a disk: make a single one with qemu-img convert -O vmdk -o subformat=streamOptimized.")
	}
	text := head[h.descriptor*sector:][:h.descriptorSize*sector]
	// Wherever the header says that the descriptor is, QEMU looks for the
	// parent in the first sectors behind it.
	if bytes.Contains(text, []byte("parentFileNameHint")) || bytes.Contains(head[:min(len(head), sector+vmdkQEMU)], []byte("parentFileNameHint")) {
		return badf("The vmdk image has a parent: merge it into a single file first.")
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	var kind string
	var extents int
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok {
			value = strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`))
			switch strings.ToLower(strings.TrimSpace(key)) {
			case "createtype":
				kind = value
			case "parentcid":
				if value != "ffffffff" {
					return badf("The vmdk image has a parent: merge it into a single file first.")
				}
			}
		}
		switch f := strings.Fields(line); {
		case len(f) < 3 || f[0] != "RW" && f[0] != "RDONLY" && f[0] != "NOACCESS":
		case f[2] != "SPARSE":
			return badf("The vmdk image keeps its content in another file, of type %.20q.", f[2])
		default:
			extents++
		}
	}
	if kind != "monolithicsparse" && kind != "streamoptimized" || extents != 1 {
		return badf("The vmdk image is of type %.40q with %d extents; only monolithicSparse and streamOptimized, in a single file, are taken.", kind, extents)
	}
	return nil
}
