// Package link makes network namespaces, devices, addresses and routes through
// netlink, without running other programs. Making what is there and removing
// what is not are no errors.
package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// nsDir is where named namespaces are, for ip(8) as for us (ip-netns(8)).
const nsDir = "/run/netns"

// An NS is a network namespace, held open.
type NS struct {
	f *os.File
}

// Here returns the namespace of the process.
func Here() (*NS, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return &NS{f}, nil
}

// NSOf returns the namespace of a process.
func NSOf(pid int) (*NS, error) { return openNS(fmt.Sprintf("/proc/%d/ns/net", pid)) }

// NewNS returns a fresh namespace without a name, which ends with Close.
func NewNS() (*NS, error) {
	var ns *NS
	err := onThread(func() error {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = Here()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	return ns, nil
}

// MakeNS returns the named namespace, made when it is not there.
func MakeNS(name string) (*NS, error) {
	path := filepath.Join(nsDir, name)
	if ns, err := openNS(path); err == nil {
		return ns, nil
	}
	if err := os.MkdirAll(nsDir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return nil, err
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, "")
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, errors.Join(err, os.Remove(path)))
	}
	return openNS(path)
}

// openNS opens a path that a namespace is mounted on.
func openNS(path string) (*NS, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, fmt.Errorf("%s is no network namespace", path)
	}
	return &NS{f}, nil
}

// DeleteNS removes the name; the namespace goes, with all devices in it, once
// nothing runs in it any more.
func DeleteNS(name string) error {
	path := filepath.Join(nsDir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// OpenNS returns the named namespace. The error is fs.ErrNotExist when there is none.
func OpenNS(name string) (*NS, error) { return openNS(filepath.Join(nsDir, name)) }

// ListNS returns the named namespaces whose names begin with prefix.
func ListNS(prefix string) ([]string, error) {
	files, err := os.ReadDir(nsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, f := range files {
		if strings.HasPrefix(f.Name(), prefix) {
			out = append(out, f.Name())
		}
	}
	return out, nil
}

// FD returns the namespace's descriptor, valid until Close.
func (n *NS) FD() int { return int(n.f.Fd()) }

// Close lets go of the namespace.
func (n *NS) Close() error { return n.f.Close() }

// Do runs f on a thread inside the namespace: sockets it opens belong there.
func (n *NS) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// Sysctl sets net.* values in the namespace: names with dots, "ipv4.ip_forward".
func (n *NS) Sysctl(values map[string]string) error {
	return n.Do(func() error {
		var errs []error
		for name, v := range values {
			path := "/proc/sys/net/" + strings.ReplaceAll(name, ".", "/")
			if err := os.WriteFile(path, []byte(v), 0); err != nil {
				errs = append(errs, fmt.Errorf("sysctl net.%s: %w", name, err))
			}
		}
		return errors.Join(errs...)
	})
}

// onThread runs f on a thread of its own, which then ends: nothing that f did
// to its namespaces can leak into another goroutine.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread alone would not die. While it is held here, f
			// gets another.
			defer runtime.UnlockOSThread()
			done <- onThread(f)
			return
		}
		// Never unlocked: the thread dies with the goroutine.
		done <- f()
	}()
	return <-done
}
