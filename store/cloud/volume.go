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

// Pools of volumes: where their data is.
const (
	PoolNode    = "node"    // on the disk of the node that runs its instance: it dies with that node
	PoolNetwork = "network" // at a volume server, which any node may reach
)

// A Volume is a block device.
//
// A volume of PoolNetwork has a lease: Holder is the only node that may open
// it, and Epoch grows with each change of holder. Its server refuses any other
// node and any older epoch, so that one who lost the lease without knowing it
// can do no harm.
type Volume struct {
	ID                  string
	AccountID           string
	State               VolumeState
	SizeGiB             int64
	Type                string // "gp3"
	IOPS                int64
	Throughput          int64 // MiB/s, gp3 only
	Zone                string
	Pool                string // PoolNode or PoolNetwork
	Node                string // of PoolNode only
	Holder              string `json:",omitempty"` // of PoolNetwork only; "": nobody
	Epoch               uint64 `json:",omitempty"` // of Holder
	SnapshotID          string `json:",omitempty"`
	ImageID             string `json:",omitempty"` // the image it is an overlay of
	Hash                string `json:",omitempty"` // content of that image or snapshot
	InstanceID          string `json:",omitempty"` // attached to
	Device              string `json:",omitempty"`
	Attached            time.Time
	DeleteOnTermination bool
	Created             time.Time
}

// OnNetwork reports whether an instance with these volumes has no data on its
// node: it may then run on any other.
func OnNetwork(all []Volume) bool {
	for _, v := range all {
		if v.Pool != PoolNetwork {
			return false
		}
	}
	return len(all) > 0
}
