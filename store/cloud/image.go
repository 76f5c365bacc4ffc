package cloud

import (
	"slices"
	"time"
)

// An Image is an AMI, or a kernel (AKI) or ramdisk (ARI) for one.
type Image struct {
	ID          string
	AccountID   string
	Name        string
	Description string `json:",omitempty"`
	Type        string // "machine", "kernel", "ramdisk"
	Arch        string // "x86_64"
	State       string // "pending", "available", "deregistered", "failed"
	RootDevice  string // "/dev/sda1"
	KernelID    string `json:",omitempty"`
	RamdiskID   string `json:",omitempty"`
	UEFI        bool   `json:",omitempty"`
	Hash        string // of the content: names the file in the object store
	SizeBytes   int64  // virtual
	Source      string `json:",omitempty"` // ImageLocation
	Mappings    []ImageMapping
	Public      bool     `json:",omitempty"`
	LaunchTo    []string `json:",omitempty"` // accounts that may launch it
	EnaSupport  bool     `json:",omitempty"`
	ImdsSupport string   `json:",omitempty"` // "v2.0" demands tokens
	Created     time.Time
}

// An ImageMapping is a block device that an image brings.
type ImageMapping struct {
	Device              string
	SnapshotID          string `json:",omitempty"`
	SizeGiB             int64
	DeleteOnTermination bool
	VolumeType          string
	IOPS                int64  `json:",omitempty"`
	Throughput          int64  `json:",omitempty"`
	NoDevice            bool   `json:",omitempty"`
	Virtual             string `json:",omitempty"` // "ephemeral0"
}

// VisibleTo reports whether account may see and launch the image.
func (m *Image) VisibleTo(account string) bool {
	return m.AccountID == account || m.Public || slices.Contains(m.LaunchTo, account)
}
