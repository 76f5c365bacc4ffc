package cloud

import "time"

// A VolumeState is where a volume is in its life, in EC2's words.
type VolumeState string

const (
	VolumeCreating  VolumeState = "creating"
	VolumeAvailable VolumeState = "available"
	VolumeInUse     VolumeState = "in-use"
	VolumeDeleting  VolumeState = "deleting"
)

// A Volume is a block device. In pool "node" it lives on the disk of the node
// that runs its instance and dies with that node.
type Volume struct {
	ID                  string
	AccountID           string
	State               VolumeState
	SizeGiB             int64
	Type                string // "gp3"
	IOPS                int64
	Throughput          int64 // MiB/s, gp3 only
	Zone                string
	Pool                string // "node"
	Node                string
	SnapshotID          string `json:",omitempty"`
	ImageID             string `json:",omitempty"` // the image it is an overlay of
	Hash                string `json:",omitempty"` // content of that image or snapshot
	InstanceID          string `json:",omitempty"` // attached to
	Device              string `json:",omitempty"`
	Attached            time.Time
	DeleteOnTermination bool
	Created             time.Time
}
