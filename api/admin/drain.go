package admin

import (
	"context"
	"net/http"

	"eucad/store"
	"eucad/store/cloud"
)

// A Resident is an instance that keeps a node in use: its disks are there.
type Resident struct {
	Instance string `json:"instance"`
	Account  string `json:"account"`
	State    string `json:"state"`
}

// drain answers POST /nodes/{name}/drain: nothing is placed on the node any
// more, and with stop=true its instances are stopped. Their disks are on the
// node, so they can't go elsewhere: they stay until their owners end them.
func (s *Server) drain(r *http.Request) ([]Resident, error) {
	ctx, name := audit(r, "DrainNode"), r.PathValue("name")
	if _, err := s.setCordon(ctx, name, true); err != nil {
		return nil, err
	}
	var all []Resident
	err := s.DB.Write(ctx, func(tx store.Tx) (err error) {
		all, err = residents(ctx, tx.Rx, name)
		if err != nil || r.FormValue("stop") != "true" {
			return err
		}
		for n := range all {
			if all[n].State, err = stop(ctx, tx, all[n].Instance); err != nil {
				return err
			}
		}
		return tx.Audit(ctx)
	})
	return all, err
}

// stop asks an instance to shut down, if it runs, and returns its state then.
func stop(ctx context.Context, tx store.Tx, id string) (string, error) {
	i, ok, err := tx.FindInstance(ctx, id)
	if err != nil || !ok {
		return "", err
	}
	if i.State == cloud.Pending || i.State == cloud.Running {
		if err := i.Move(cloud.Stopping, tx.Now()); err != nil {
			return "", err
		}
		i.Reason = &cloud.StateReason{Code: "Server.ScheduledStop", Message: "Server.ScheduledStop: Stopped because its host is taken out of service"}
		err = tx.PutInstance(ctx, i)
	}
	return string(i.State), err
}

// residents returns the instances whose disks are on a node.
func residents(ctx context.Context, rx store.Rx, node string) ([]Resident, error) {
	all, err := rx.InstancesOnNode(ctx, node)
	out := []Resident{}
	for _, i := range all {
		out = append(out, Resident{i.ID, i.AccountID, string(i.State)})
	}
	return out, err
}

// removeNode answers DELETE /nodes/{name}.
func (s *Server) removeNode(r *http.Request) (Member, error) {
	h, err := s.hosts()
	if err != nil {
		return Member{}, err
	}
	ctx, name := audit(r, "RemoveNode"), r.PathValue("name")
	err = s.DB.Read(ctx, func(rx store.Rx) error {
		left, err := residents(ctx, rx, name)
		if err == nil && len(left) > 0 {
			err = cloud.Faultf("DependencyViolation", "Node %s still has %d instances, %s among them: eucad node drain %s --stop stops them, and their owners must end them.", name, len(left), left[0].Instance, name)
		}
		return err
	})
	if err != nil {
		return Member{}, err
	}
	return Member{Name: name}, h.RemoveHost(ctx, name)
}
