package admin

import (
	"context"
	"net/http"
	"time"

	"eucad/store"
	"eucad/store/cloud"
)

// A Node is a host as administrators see it.
type Node struct {
	Name      string    `json:"name"`
	Zone      string    `json:"zone"`
	Kind      string    `json:"kind"` // hypervisor
	Arch      string    `json:"arch"`
	Host      Amount    `json:"host"`     // what it has
	Capacity  Amount    `json:"capacity"` // for instances, over-commit included
	Used      Amount    `json:"used"`
	Instances int       `json:"instances"`
	Cordoned  bool      `json:"cordoned"`
	Lost      bool      `json:"lost"` // not heard of for too long
	Heard     time.Time `json:"last_heard"`
	Version   string    `json:"version,omitempty"`   // of its eucad, if it has told
	MaySleep  bool      `json:"may_sleep,omitempty"` // under the policy powersave
}

// An Amount is how much there is of each resource.
type Amount struct {
	CPUs      int   `json:"cpus"`
	MemoryMiB int   `json:"memory_mib"`
	DiskGiB   int64 `json:"disk_gib"`
}

func (s *Server) listNodes(r *http.Request) ([]Node, error) {
	ctx := r.Context()
	list := []Node{}
	err := s.DB.Read(ctx, func(rx store.Rx) error {
		nodes, err := rx.Nodes(ctx)
		if err != nil {
			return err
		}
		use, err := rx.Use(ctx)
		if err != nil {
			return err
		}
		var fleet cloud.Fleet
		for i := range nodes {
			fleet = append(fleet, cloud.Candidate{Node: &nodes[i], Use: use[nodes[i].Name]})
			list = append(list, newNode(nodes[i], use[nodes[i].Name]))
		}
		if s.PowerSave {
			for _, name := range cloud.Sleepers(fleet) {
				at, _ := fleet.ByName(name)
				list[at].MaySleep = true
			}
		}
		return nil
	})
	return list, err
}

func newNode(n cloud.Node, u cloud.Use) Node {
	return Node{
		Name: n.Name, Zone: n.Zone, Kind: n.Kind, Arch: n.Arch,
		Host: Amount(n.Host), Capacity: Amount{n.CPUs, n.MemoryMiB, n.DiskGiB}, Used: Amount{u.CPUs, u.MemoryMiB, u.DiskGiB},
		Instances: u.Instances, Cordoned: n.Cordoned, Lost: n.Lost, Heard: n.Seen, Version: n.Version,
	}
}

func (s *Server) cordon(r *http.Request) (Node, error) {
	return s.setCordon(audit(r, "CordonNode"), r.PathValue("name"), true)
}

func (s *Server) uncordon(r *http.Request) (Node, error) {
	return s.setCordon(audit(r, "UncordonNode"), r.PathValue("name"), false)
}

// setCordon says whether a node takes new instances. Those it has stay.
func (s *Server) setCordon(ctx context.Context, name string, cordoned bool) (out Node, err error) {
	err = s.DB.Write(ctx, func(tx store.Tx) error {
		n, ok, err := tx.Node(ctx, name)
		if err != nil {
			return err
		}
		if !ok {
			return cloud.Faultf("NoSuchEntity", "There is no node %q; eucad node list names them.", name)
		}
		n.Cordoned = cordoned
		if err := tx.PutNode(ctx, n); err != nil {
			return err
		}
		use, err := tx.Use(ctx)
		out = newNode(n, use[name])
		if err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return out, err
}
