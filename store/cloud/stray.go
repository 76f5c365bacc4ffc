package cloud

import "time"

// A Stray is what may be left of an instance on a node that it was taken from
// while that node was lost. It is kept until the node, back again, says that
// it has removed its copy: only a plan that names a guest as ended may end it.
type Stray struct {
	InstanceID string
	Node       string
	VpcID      string
	Interfaces []string // ids, as they were: their ports go too
	Since      time.Time
}

// Key names the stray.
func (s Stray) Key() string { return StrayKey(s.InstanceID, s.Node) }

// StrayKey names the stray of an instance on a node.
func StrayKey(instance, node string) string { return instance + "/" + node }
