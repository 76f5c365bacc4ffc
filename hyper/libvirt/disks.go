package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"eucad/hyper"
	"eucad/hyper/disk"
)

// makeDisk makes the disk's file, or grows the one that is there. It is called
// only while nothing has the disk open. It is all there or not at all.
func makeDisk(ctx context.Context, d hyper.Disk) error {
	err := growDisk(ctx, d)
	if errors.Is(err, os.ErrNotExist) && !exists(d.Path) {
		err = createDisk(ctx, d)
	}
	if err != nil {
		return diskError(d, err)
	}
	return nil
}

// createDisk makes the disk under another name first, so that a half-made one
// is never taken for a whole one.
func createDisk(ctx context.Context, d hyper.Disk) error {
	if err := os.MkdirAll(filepath.Dir(d.Path), 0o711); err != nil {
		return err
	}
	tmp := d.Path + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	var err error
	switch {
	case d.Format == "raw":
		err = createRaw(tmp, d.SizeBytes)
	case d.Base == "":
		err = qemuImg(ctx, "create", "-q", "-f", "qcow2", "--", tmp, strconv.FormatInt(d.SizeBytes, 10))
	default:
		size, serr := disk.Qcow2Size(d.Base)
		if serr != nil {
			return serr
		}
		// The base was opened just now and is never changed: -u spares
		// qemu-img from opening it again.
		err = qemuImg(ctx, "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", d.Base, "--", tmp, strconv.FormatInt(max(size, d.SizeBytes), 10))
	}
	if err == nil {
		err = os.Rename(tmp, d.Path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

func createRaw(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// growDisk makes the disk at least as large as it should be.
func growDisk(ctx context.Context, d hyper.Disk) error {
	if d.Format == "raw" {
		fi, err := os.Stat(d.Path)
		if err != nil || !fi.Mode().IsRegular() || fi.Size() >= d.SizeBytes {
			return err
		}
		return os.Truncate(d.Path, d.SizeBytes)
	}
	size, err := disk.Qcow2Size(d.Path)
	if err != nil || size >= d.SizeBytes {
		return err
	}
	return qemuImg(ctx, "resize", "-q", "-f", "qcow2", "--", d.Path, strconv.FormatInt(d.SizeBytes, 10))
}

// qemuImg runs qemu-img, and returns what it complained about.
func qemuImg(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if err == nil || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	text := strings.TrimSpace(stderr.String())
	if strings.Contains(text, syscall.ENOSPC.Error()) || strings.Contains(text, "No space left on device") {
		return fmt.Errorf("qemu-img %s: %w", args[0], syscall.ENOSPC)
	}
	return fmt.Errorf("qemu-img %s: %w: %s", args[0], err, text)
}

// diskError says what would mend err.
func diskError(d hyper.Disk, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("disk %s: the file system of %s is full: free some space there: %w", d.ID, filepath.Dir(d.Path), err)
	}
	return fmt.Errorf("disk %s: %w", d.ID, err)
}
