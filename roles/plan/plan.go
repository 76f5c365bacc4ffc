// Package plan is the document by which the cloud tells a node what to be, and
// its one translator: pure functions from the store's rows to machines and
// routers.
package plan

import (
	"time"

	"eucad/hyper"
	"eucad/store/cloud"
)

// A Batch is what changed in the plan of one node. A batch may repeat what
// the node already knows: applying twice changes nothing.
type Batch struct {
	Rev  uint64 `json:",omitempty"` // of the store, up to which all is told
	Full bool   `json:",omitempty"` // this is the whole plan: nothing else is in it

	Machines []Machine    `json:",omitempty"`
	Forget   []string     `json:",omitempty"` // instances that are terminated: nobody asks for them again
	Hosts    *HostsUpdate `json:",omitempty"`
	Vpcs     []VpcUpdate  `json:",omitempty"`
	Gone     []string     `json:",omitempty"` // VPCs that this host has nothing to do with any more
	Drop     []string     `json:",omitempty"` // volumes that are deleted: what was kept of them goes
}

// A Machine is everything one guest on a node should be. In it, the Base of a
// disk, the Kernel and the Initrd are content hashes, and disks have no Path:
// files are the node's business.
type Machine struct {
	hyper.Machine
	VpcID    string
	Ports    []string  // ids of its ports in the router VpcID, by device index
	Ended    bool      // the guest and its disks go
	Since    time.Time // the instance is in its state; statuses tell it again
	Keep     []string  // disks (volume ids) that stay when it is Ended
	Metadata *cloud.Metadata
	Movable  bool `json:",omitempty"` // it is started elsewhere when this node is lost
}

// A Status is what became of one machine on a node.
type Status struct {
	ID    string
	State hyper.State
	Boot  uint64
	Since time.Time // of the Machine that this is the status of; reports may be late, or come twice
	Ended bool      // the plan's end was carried out: nothing is left
	Err   string    // what stands in the way; "" when nothing does
	Final bool      // trying again will not help

	// Phases are what the node did to start it, and how long each took. They
	// come once, with a report that may be behind another one of the same start.
	Phases []cloud.Phase `json:",omitempty"`
}
