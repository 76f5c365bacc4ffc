package link

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Tap makes a tap device that stays until it is deleted, down, in the
// namespace of c. Who opens it becomes the far end of the cable; only root may
// (without an owner anybody could who may open /dev/net/tun).
func (c *Conn) Tap(name string, mtu int) error {
	err := c.ns.Do(func() error {
		f, err := OpenTap(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.IoctlSetInt(int(f.Fd()), unix.TUNSETOWNER, 0); err != nil {
			return err
		}
		return unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1)
	})
	if err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	if mtu == 0 {
		return nil
	}
	d, ok, err := c.Device(name)
	if err != nil || !ok {
		return err
	}
	return c.setMTU(d.Index, mtu)
}

// OpenTap opens the tap of that name in the namespace of the calling thread,
// made when it is not there: frames are read from and written to the file.
func OpenTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
