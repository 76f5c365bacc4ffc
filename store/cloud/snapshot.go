package cloud

import "time"

// A Snapshot is the content of a disk at one time, kept once by its hash.
// Importing a disk makes one; RegisterImage names it.
type Snapshot struct {
	ID          string
	AccountID   string
	State       string // "pending", "completed", "error"
	Hash        string // names the file in the object store
	SizeGiB     int64  // rounded up
	SizeBytes   int64  // virtual
	Description string `json:",omitempty"`
	Created     time.Time
}
