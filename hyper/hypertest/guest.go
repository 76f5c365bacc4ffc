package hypertest

import (
	"bytes"
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Ready is what the test guest writes to its console once it is up.
const Ready = "hypertest guest is ready"

// A Guest is a small real system: Debian's cloud kernel and busybox. It says
// on its console what hardware it sees, then Ready, and obeys the power
// button. With "do=poweroff" or "do=panic" on its command line it then does that.
type Guest struct {
	Kernel, Initrd string // paths
	Cmdline        string
}

//go:embed init.sh
var guestInit string

// The modules the guest needs, in the order they are loaded.
var guestModules = strings.Fields(`drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev
	drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci drivers/block/virtio_blk net/core/failover
	drivers/net/net_failover drivers/net/virtio_net drivers/acpi/button drivers/input/evdev
	drivers/misc/pvpanic/pvpanic drivers/misc/pvpanic/pvpanic-mmio`)

var guestOnce = sync.OnceValues(buildGuest)

// NewGuest returns the test guest. It skips the test, with the reason, where
// there is no such kernel and apt can't bring one.
func NewGuest(t testing.TB) Guest {
	t.Helper()
	g, err := guestOnce()
	if err != nil {
		t.Skipf("no test guest: %v", err)
	}
	return g
}

// buildGuest makes the guest in the user's cache, once for each kernel.
func buildGuest() (Guest, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	root, release, err := kernelTree(filepath.Join(cache, "eucad-hypertest"))
	if err != nil {
		return Guest{}, err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return Guest{}, fmt.Errorf("install busybox-static: %w", err)
	}
	var c cpio
	for _, dir := range []string{"bin", "dev", "proc", "sys", "mod"} {
		c.add(dir, fs.ModeDir|0o755, nil)
	}
	c.add("init", 0o755, []byte(guestInit))
	files := map[string]string{"bin/busybox": busybox}
	for i, m := range guestModules {
		files[fmt.Sprintf("mod/%02d.ko", i)] = filepath.Join(root, "lib/modules", release, "kernel", m+".ko")
	}
	for name, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			return Guest{}, err
		}
		c.add(name, 0o755, b)
	}
	// QEMU's user must be able to read them, so they can't be in a home directory.
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("eucad-hypertest-%d-%s", os.Getuid(), release))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Guest{}, err
	}
	g := Guest{Kernel: dir + "/vmlinuz", Initrd: dir + "/initrd", Cmdline: "console=ttyS0 quiet panic=0 mitigations=off tsc=unstable"}
	kernel, err := os.ReadFile(filepath.Join(root, "boot", "vmlinuz-"+release))
	if err != nil {
		return Guest{}, err
	}
	for path, b := range map[string][]byte{g.Kernel: kernel, g.Initrd: c.bytes()} {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
			continue
		}
		// By rename, for other tests may be starting guests with it.
		tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
		if err := os.WriteFile(tmp, b, 0o644); err != nil {
			return Guest{}, err
		}
		if err := os.Rename(tmp, path); err != nil {
			return Guest{}, err
		}
	}
	return g, nil
}

var cloudKernel = regexp.MustCompile(`vmlinuz-([0-9][0-9a-z.+-]*-cloud-amd64)$`)

// kernelTree returns a directory with boot/vmlinuz-RELEASE and
// lib/modules/RELEASE: the root, the cache, or the cache after a download.
func kernelTree(cache string) (root, release string, err error) {
	look := func() bool {
		for _, root = range []string{"/", cache} {
			found, _ := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
			for _, path := range found {
				if m := cloudKernel.FindStringSubmatch(path); m != nil {
					release = m[1]
					return true
				}
			}
		}
		return false
	}
	if look() {
		return root, release, nil
	}
	out, err := exec.Command("apt-cache", "depends", "linux-image-cloud-amd64").Output()
	m := regexp.MustCompile(`Depends: (linux-image-[0-9]\S+)`).FindSubmatch(out)
	if m == nil {
		return "", "", fmt.Errorf("apt knows no linux-image-cloud-amd64 (%v)", err)
	}
	tmp, err := os.MkdirTemp("", "kernel")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(tmp)
	get := exec.Command("apt-get", "-q", "download", string(m[1]))
	get.Dir = tmp
	if out, err := get.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("apt-get download %s: %w: %s", m[1], err, out)
	}
	debs, _ := filepath.Glob(tmp + "/*.deb")
	if len(debs) != 1 {
		return "", "", fmt.Errorf("apt-get download %s brought %d files", m[1], len(debs))
	}
	tree := filepath.Join(tmp, "tree")
	if out, err := exec.Command("dpkg-deb", "-x", debs[0], tree).CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("unpack %s: %w: %s", debs[0], err, out)
	}
	if err := os.MkdirAll(filepath.Dir(cache), 0o755); err != nil {
		return "", "", err
	}
	// Another test may have been quicker; its tree is as good.
	if out, err := exec.Command("cp", "-rT", tree, cache).CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("keep the kernel: %w: %s", err, out)
	}
	if !look() {
		return "", "", fmt.Errorf("%s holds no kernel", m[1])
	}
	return root, release, nil
}

// A cpio is an archive in the "newc" format that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	b   bytes.Buffer
	ino int
}

func (c *cpio) add(name string, mode fs.FileMode, data []byte) {
	bits := uint32(mode.Perm()) | 0o100000
	if mode.IsDir() {
		bits = uint32(mode.Perm()) | 0o040000
	}
	c.ino++
	fmt.Fprintf(&c.b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.ino, bits, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	c.pad()
	c.b.Write(data)
	c.pad()
}

func (c *cpio) pad() {
	for c.b.Len()%4 != 0 {
		c.b.WriteByte(0)
	}
}

func (c *cpio) bytes() []byte {
	c.add("TRAILER!!!", 0, nil)
	return c.b.Bytes()
}
