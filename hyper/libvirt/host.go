package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"
	"libvirt.org/go/libvirtxml"

	"eucad/hyper"
)

// Host reports what the host has; see hyper.Driver.
func (d *Driver) Host(ctx context.Context) (hyper.Host, error) {
	kind, err := d.kind(ctx)
	if err != nil {
		return hyper.Host{}, err
	}
	h := hyper.Host{Arch: "x86_64", Kind: kind, Warning: d.warning}
	err = d.client.call(ctx, callTime, func(l *golibvirt.Libvirt) error {
		_, _, cpus, _, _, _, _, _, err := l.NodeGetInfo()
		h.CPUs = int(cpus)
		return err
	})
	if err != nil {
		return hyper.Host{}, fmt.Errorf("ask libvirt about the host: %w", err)
	}
	// libvirt adds up what the kernel shows of NUMA nodes, where memory that
	// was plugged in later may be missing.
	var mem unix.Sysinfo_t
	if err := unix.Sysinfo(&mem); err != nil {
		return hyper.Host{}, fmt.Errorf("measure the host's memory: %w", err)
	}
	h.MemoryMiB = int(mem.Totalram * uint64(mem.Unit) >> 20)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &fs); err != nil {
		return hyper.Host{}, fmt.Errorf("measure the file system of %s: %w", d.dir, err)
	}
	h.DiskBytes = int64(fs.Bavail)*fs.Bsize + usage(d.dir)
	return h, nil
}

// usage returns the bytes that the machines' files take up.
func usage(dir string) (total int64) {
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	for _, path := range files {
		var st syscall.Stat_t
		if syscall.Lstat(path, &st) == nil {
			total += st.Blocks * 512
		}
	}
	return total
}

// kind returns "kvm" where that really works, else "qemu". It finds out once.
func (d *Driver) kind(ctx context.Context) (string, error) {
	d.mu.Lock()
	known := d.virt
	d.mu.Unlock()
	if known != "" {
		return known, nil
	}
	if runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("hosts of architecture %s are not supported", runtime.GOARCH)
	}
	why := noKVM()
	if why == "" {
		err := d.client.call(ctx, callTime, func(l *golibvirt.Libvirt) error {
			_, err := l.ConnectGetDomainCapabilities(nil, golibvirt.OptString{"x86_64"}, golibvirt.OptString{"q35"}, golibvirt.OptString{"kvm"}, 0)
			return err
		})
		if err != nil && !isAnswer(err) {
			return "", fmt.Errorf("ask libvirt for its capabilities: %w", err)
		}
		if err != nil {
			why = "libvirt says: " + err.Error()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.virt != "" {
		return d.virt, nil
	}
	d.virt = "kvm"
	if why != "" {
		d.virt = "qemu"
		d.warning = "KVM can't be used, so machines are emulated and slow: " + why + "."
		d.log.Warn("machines are emulated and slow: KVM can't be used", "err", why)
	}
	return d.virt, nil
}

var virtFlag = regexp.MustCompile(`(?m)^flags\s*:.*\b(vmx|svm)\b`)

// kvmCreateVM is KVM_CREATE_VM of linux/kvm.h.
const kvmCreateVM = 0xae01

// noKVM says why the kernel's KVM doesn't work, or "" when it does. That
// /dev/kvm exists proves nothing: it may be there without a CPU that can.
func noKVM() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !virtFlag.Match(info) {
		return "the CPU shows neither vmx nor svm (if this is a virtual machine, allow nested virtualisation in it; else look in the BIOS)"
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err.Error() + " (is the module kvm_intel or kvm_amd loaded?)"
	}
	defer f.Close()
	vm, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), kvmCreateVM, 0)
	if errno != 0 {
		return "/dev/kvm makes no virtual machine: " + errno.Error()
	}
	unix.Close(int(vm))
	return ""
}

// explain adds what would mend a start that failed with err, as far as that
// can be seen from here.
func (d *Driver) explain(m hyper.Machine, err error) error {
	if !strings.Contains(err.Error(), "ermission denied") {
		return nil
	}
	uid, gid := d.qemuUser()
	paths := []string{m.Kernel, m.Initrd}
	for _, disk := range m.Disks {
		paths = append(paths, disk.Path, disk.Base)
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
			if !may(dir, uid, gid, 1) {
				return fmt.Errorf("QEMU's user (uid %d) can't search %s: run \"chmod o+x %s\", or keep machines elsewhere", uid, dir, dir)
			}
		}
		if exists(path) && !may(path, uid, gid, 4) {
			return fmt.Errorf("QEMU's user (uid %d) can't read %s: run \"chmod o+r %s\"", uid, path, path)
		}
	}
	return nil
}

// may says whether a process of the user and group has the right (4 read, 1 search).
func may(path string, uid, gid uint32, right uint32) bool {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return false
	}
	switch {
	case uid == 0:
		return true
	case st.Uid == uid:
		return st.Mode>>6&right != 0
	case st.Gid == gid:
		return st.Mode>>3&right != 0
	default:
		return st.Mode&right != 0
	}
}

// qemuUser returns the user and group that libvirt runs QEMU as, from its
// capabilities; the superuser when it doesn't say.
func (d *Driver) qemuUser() (uid, gid uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	var text string
	err := d.client.call(ctx, callTime, func(l *golibvirt.Libvirt) error {
		var err error
		text, err = l.ConnectGetCapabilities()
		return err
	})
	var caps libvirtxml.Caps
	if err != nil || xml.Unmarshal([]byte(text), &caps) != nil {
		return 0, 0
	}
	for _, model := range caps.Host.SecModel {
		if model.Name != "dac" {
			continue
		}
		for _, label := range model.Labels {
			if n, _ := fmt.Sscanf(label.Value, "+%d:+%d", &uid, &gid); n == 2 {
				return uid, gid
			}
		}
	}
	return 0, 0
}
