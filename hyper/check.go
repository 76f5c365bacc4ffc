package hyper

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var machineID = regexp.MustCompile(`^i-[0-9a-f]{17}$`)

// CheckID returns an error unless id is that of a machine. Paths and names
// are made of ids, so drivers refuse others.
func CheckID(id string) error {
	if !machineID.MatchString(id) {
		return fmt.Errorf("machine id %q is not \"i-\" and 17 hex digits", id)
	}
	return nil
}

// Check returns an error if no driver could run m, or if it would be harmful
// to try.
func (m Machine) Check() error {
	if err := CheckID(m.ID); err != nil {
		return err
	}
	if _, err := ParseUUID(m.UUID); err != nil {
		return fmt.Errorf("machine %s: %w", m.ID, err)
	}
	if m.CPUs < 1 || m.MemoryMiB < 1 {
		return fmt.Errorf("machine %s: %d CPUs and %d MiB of memory are too little", m.ID, m.CPUs, m.MemoryMiB)
	}
	if !slices.Contains([]Power{On, Off, Cut}, m.Power) {
		return fmt.Errorf("machine %s: power %q is unknown", m.ID, m.Power)
	}
	for _, path := range []string{m.Kernel, m.Initrd} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("machine %s: path %q is not absolute", m.ID, path)
		}
	}
	for _, d := range m.Disks {
		if err := d.check(); err != nil {
			return fmt.Errorf("machine %s: disk %s: %w", m.ID, d.ID, err)
		}
	}
	return nil
}

func (d Disk) check() error {
	switch {
	case d.Format != "qcow2" && d.Format != "raw":
		return fmt.Errorf("format %q is neither qcow2 nor raw", d.Format)
	case !filepath.IsAbs(d.Path) || d.Base != "" && !filepath.IsAbs(d.Base):
		return errors.New("path and base must be absolute")
	case d.Base != "" && d.Format != "qcow2":
		return errors.New("only a qcow2 can be an overlay")
	case d.SizeBytes < 0:
		return fmt.Errorf("size %d is negative", d.SizeBytes)
	}
	return nil
}

// ParseUUID reads a UUID as a Machine has it: lower case, with dashes, not
// nil. The nil UUID is that of Xen's Domain-0, the host itself, so it must
// never reach a hypervisor.
func ParseUUID(s string) (u [16]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(u) || len(s) != 36 || s != strings.ToLower(s) {
		return u, fmt.Errorf("%q is not a lower-case UUID", s)
	}
	copy(u[:], b)
	if u == [16]byte{} {
		return u, errors.New("the nil UUID is no machine's")
	}
	return u, nil
}
