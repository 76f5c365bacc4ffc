package disk

import (
	"bytes"
	"encoding/binary"
)

const (
	sector = 512
	// cylinder is by how much a partition may end behind the disk: some tools
	// round partitions up to a cylinder, and disks down.
	cylinder = 16 * 63 * sector
)

// fileSystems are what a disk may begin with that a kernel image boots: it
// needs no boot sector.
var fileSystems = []struct {
	at    int
	magic string
}{
	{1024 + 56, "\x53\xef"}, // ext2, 3 and 4
	{0, "XFSB"},
	{64<<10 + 64, "_BHRfS_M"}, // btrfs
	{0, "hsqs"},               // squashfs
}

// inspectRaw looks for a boot sector, which every disk that boots or has
// partitions begins with, and whether the partitions are all there; or for a
// bare file system.
func inspectRaw(head []byte, size int64) (image, error) {
	img := image{format: "raw", size: size}
	for _, f := range fileSystems {
		if len(head) > f.at && bytes.HasPrefix(head[f.at:], []byte(f.magic)) {
			return img, nil
		}
	}
	if len(head) < sector || head[510] != 0x55 || head[511] != 0xaa {
		return img, badf("The file is no disk image: neither qcow2, vmdk, vhd or vhdx, nor a raw disk, which would have a boot signature (55 AA) at the end of its first sector or a file system.")
	}
	if mbrEnd(head) > size+cylinder || gptEnd(head) > size {
		return img, badf("The raw disk was cut off: its partitions do not end within its %d bytes.", size)
	}
	return img, nil
}

// mbrEnd returns where the last partition of a master boot record ends, 0 when
// there is none, as in the boot sector of a file system.
func mbrEnd(b []byte) (end int64) {
	const first, length = 446, 16
	for i := range 4 {
		p := b[first+i*length:]
		if p[0]&0x7f != 0 { // neither active nor inactive
			return 0
		}
		kind, start, n := p[4], binary.LittleEndian.Uint32(p[8:]), binary.LittleEndian.Uint32(p[12:])
		if kind == 0 || kind == 0xee || n == 0 { // 0xee: see the GPT
			continue
		}
		end = max(end, (int64(start)+int64(n))*sector)
	}
	return end
}

// gptEnd returns where the last partition of a GUID partition table ends, 0
// when there is none. (UEFI specification, 5.3)
func gptEnd(b []byte) (end int64) {
	const header, first, length = sector, 2 * sector, 128
	if len(b) < first || !bytes.HasPrefix(b[header:], []byte("EFI PART")) {
		return 0
	}
	le := binary.LittleEndian
	if le.Uint64(b[header+72:]) != 2 || le.Uint32(b[header+84:]) != length {
		return 0 // allowed, but nobody does it
	}
	n := min(int(le.Uint32(b[header+80:])), (len(b)-first)/length)
	for i := range n {
		p := b[first+i*length:]
		if bytes.Equal(p[:16], zeros[:16]) {
			continue
		}
		last := min(le.Uint64(p[40:]), 1<<50) // beyond every size, and no overflow
		end = max(end, (int64(last)+1)*sector)
	}
	return end
}
