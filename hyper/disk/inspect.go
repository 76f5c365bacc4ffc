package disk

import (
	"bytes"
	"io"
)

// maxHead is how much of the start of a file is looked at: a qcow2's header
// may take a cluster, and clusters have at most 2 MiB.
const maxHead = maxQcow2Header

// An image is what a disk image says of itself.
type image struct {
	format string // as QEMU calls it
	size   int64  // that the guest sees
}

// strangers are files that people have and that are not taken, by their magic.
var strangers = []struct {
	at     int
	magic  string
	advice string
}{
	{0, "# Disk DescriptorFile", "The file is a vmdk that only points to other files: make a single one with qemu-img convert -O vmdk -o subformat=streamOptimized."},
	{0, "COWD", "The file is a vmdk of an old kind: make a qcow2 of it with qemu-img convert."},
	{0, "<<<", "The file is a vdi: make a qcow2 of it with qemu-img convert."},
	{64, "\x7f\x10\xda\xbe", "The file is a vdi: make a qcow2 of it with qemu-img convert."},
	{0, "QED\x00", "The file is a qed: make a qcow2 of it with qemu-img convert."},
	{0, "LUKS\xba\xbe", "The image is encrypted."},
	{0, "PK\x03\x04", "The file is a zip: unpack it first."},
	{257, "ustar", "The file is a tar or an OVA: bring the disk that is in it."},
}

// inspect reads what kind of image a file of the given size is, and refuses
// what leads to other files. The format is told to QEMU, which never guesses.
func inspect(r io.ReaderAt, size int64) (image, error) {
	head, err := readAt(r, 0, int(min(size, maxHead)))
	if err != nil {
		return image{}, err
	}
	tail, err := readAt(r, max(0, size-vmdkTail), vmdkTail)
	if err != nil {
		return image{}, err
	}
	switch {
	case bytes.HasPrefix(head, qcow2Magic):
		return inspectQcow2(head, size)
	case bytes.HasPrefix(head, vmdkMagic):
		return inspectVMDK(head, tail, size)
	case bytes.HasPrefix(head, vhdxMagic):
		return inspectVHDX(r, head, size)
	case bytes.HasPrefix(head, vhdMagic):
		return inspectVHD(r, head, size)
	}
	if img, ok := inspectFixedVHD(tail, size); ok {
		return img, nil
	}
	for _, s := range strangers {
		if len(head) > s.at && bytes.HasPrefix(head[s.at:], []byte(s.magic)) {
			return image{}, badImage(s.advice)
		}
	}
	return inspectRaw(head, size)
}

// readAt reads n bytes, or what there is of them.
func readAt(r io.ReaderAt, at int64, n int) ([]byte, error) {
	b := make([]byte, n)
	n, err := r.ReadAt(b, at)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// within says whether n bytes at this offset are in a file of this size.
func within(at, n uint64, size int64) bool {
	return n <= uint64(size) && at <= uint64(size)-n
}

func cutOff(format string) error {
	return badf("The %s image was cut off: its header points beyond its end.", format)
}
