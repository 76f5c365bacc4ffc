// Package hyper runs virtual machines.
//
// It knows machines, disks and taps; it knows nothing of accounts, VPCs or
// prices. The packages below it each drive one kind of hypervisor, and
// hypertest holds the one suite that all of them must pass.
package hyper

import (
	"context"
	"errors"
	"time"
)

// ErrInvalid is in the chain of an error that trying again will not mend: the
// machine as described cannot be (an image that is no image, a disk smaller
// than its base).
var ErrInvalid = errors.New("invalid machine")

// A Power says what a machine should be doing.
type Power string

const (
	On  Power = "on"  // running
	Off Power = "off" // asked to shut down by ACPI; its disks stay
	Cut Power = "cut" // stopped at once, as if the plug were pulled; its disks stay
)

// A Machine is everything a hypervisor must know to run one guest.
type Machine struct {
	ID    string // names everything made for it: "i-" and 17 hex digits
	UUID  string // of the domain and in the guest's SMBIOS, lower case; also its SMBIOS serial number
	Power Power

	// Boot grows each time the machine is to start afresh or to be reset. A
	// driver that runs the machine with a lower Boot resets it, once.
	Boot uint64

	CPUs      int
	MemoryMiB int
	UEFI      bool   // boot by OVMF rather than BIOS
	Kernel    string // path of a kernel to boot directly; "" boots the first disk
	Initrd    string // path, with Kernel only
	Cmdline   string // with Kernel only
	Disks     []Disk // the first is the root disk
	NICs      []NIC
	Meta      []byte // kept with the domain, so that a lost store can be rebuilt; JSON
}

// A Disk is a block device of a Machine.
type Disk struct {
	ID        string // volume id; its serial number in the guest is the id without the dash
	Path      string // on the host; made by Apply when it is not there
	Format    string // "qcow2" or "raw"; never guessed
	Base      string // path of the immutable qcow2 the disk is an overlay of, or ""
	SizeBytes int64  // at least the base's
	Target    string // "vda", "vdb", …: its place in the guest
	ReadOnly  bool

	// Epoch is that of the host's lease on the disk at its volume server,
	// which refuses older ones; 0 for a disk that is a file of this host.
	Epoch uint64 `json:",omitempty"`
}

// A NIC joins a Machine to a tap device that the host's network made.
type NIC struct {
	Tap string // exists, in the host's network namespace, when Apply starts the machine
	MAC string
	MTU int
}

// A State is what a driver sees a machine do.
type State string

const (
	Absent   State = "absent"  // not known here
	Stopped  State = "stopped" // known, not running
	Running  State = "running"
	Crashed  State = "crashed"  // the guest or its emulator died
	ShutDown State = "shutdown" // the guest powered itself off, asked or not
)

// A Status is what a Driver sees of one machine.
type Status struct {
	ID    string
	State State
	Boot  uint64 // of the machine as last started
	Since time.Time
	Meta  []byte
}

// A Driver runs Machines on one host. Its methods may be called at once from
// several goroutines, are idempotent, and respect their context.
type Driver interface {
	// Apply makes m as described: its disks exist with at least their size,
	// and it runs or not as m.Power says. It returns once the hypervisor has
	// the machine running (On), has been told to shut it down (Off), or has
	// none of it left running (Cut). A machine that ran with this Boot and
	// then shut itself down or crashed is not started again, unless the host
	// itself went down meanwhile.
	Apply(ctx context.Context, m Machine) error

	// Remove stops the machine at once and deletes its disks and all that
	// was made for it. A machine that is not there is no error.
	Remove(ctx context.Context, id string) error

	// List reports every machine that this driver made, running or not.
	List(ctx context.Context) ([]Status, error)

	// Events calls f, one call at a time, with each change of a machine's
	// state, until ctx ends. A Status with an empty ID says that events may
	// have been lost and List should be read. It outlives a restart of the
	// hypervisor's daemon.
	Events(ctx context.Context, f func(Status)) error

	// Console returns the last bytes (at most 64 KiB) the guest wrote to its
	// first serial port, and when. It keeps answering after the machine has stopped.
	Console(ctx context.Context, id string) ([]byte, time.Time, error)

	// Host reports what the host has to give.
	Host(ctx context.Context) (Host, error)
}

// A Host is what a hypervisor's host has to give, before any machine.
type Host struct {
	CPUs      int
	MemoryMiB int
	DiskBytes int64  // free and ours, where disks are kept
	Arch      string // "x86_64"
	Kind      string // "kvm", "qemu" (plain emulation), "sim"
	Warning   string // one sentence, when the host works but not as it should
}
