package cloud

import (
	"regexp"
	"slices"
	"time"
	"unicode/utf8"
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

// imageName is what EC2 allows as an AMI's name (RegisterImage in its API reference).
var imageName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./\-'@_]{3,128}$`)

const maxImageText = 255 // characters of a description, as on EC2

// Check returns a Fault when name or description are not what EC2 allows.
func (m *Image) Check() error {
	if !imageName.MatchString(m.Name) {
		return Faultf("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'")
	}
	return m.Describe(m.Description)
}

// Describe sets the description, or returns a Fault when it is too long.
func (m *Image) Describe(text string) error {
	if utf8.RuneCountInString(text) > maxImageText {
		return Faultf("InvalidParameterValue", "The description is longer than %d characters.", maxImageText)
	}
	m.Description = text
	return nil
}

// VisibleTo reports whether account may see and launch the image.
func (m *Image) VisibleTo(account string) bool {
	return m.AccountID == account || m.Public || slices.Contains(m.LaunchTo, account)
}
