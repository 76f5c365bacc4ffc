package admin

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"eucad/store"
	"eucad/store/cloud"
)

// nameForm is what an account may be called.
var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// deleteTime is how long the deletion of an account waits for its instances to end.
const deleteTime = 2 * time.Minute

// AddAccount makes an account with its default VPC and an access key.
func AddAccount(ctx context.Context, db *store.DB, tx store.Tx, name string, zones []string) (cloud.Account, cloud.AccessKey, cloud.Vpc, error) {
	a, err := tx.AddAccount(ctx, name)
	if err != nil {
		return a, cloud.AccessKey{}, cloud.Vpc{}, err
	}
	k, _, err := db.NewAccessKey(ctx, tx, a.ID)
	if err != nil {
		return a, k, cloud.Vpc{}, err
	}
	n := cloud.NewDefaultNetwork(a.ID, zones, tx.Now())
	return a, k, n.Vpc, tx.AddNetwork(ctx, n)
}

func (s *Server) listAccounts(r *http.Request) ([]cloud.Account, error) {
	var all []cloud.Account
	err := s.DB.Read(r.Context(), func(rx store.Rx) (err error) {
		all, err = rx.Accounts(r.Context())
		return err
	})
	return all, err
}

func (s *Server) createAccount(r *http.Request) (Credentials, error) {
	name := r.PathValue("name")
	if !nameForm.MatchString(name) {
		return Credentials{}, cloud.Faultf("InvalidParameterValue", "An account's name has lower-case letters, digits and dashes, at most 63: %q is none.", name)
	}
	ctx := audit(r, "CreateAccount")
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		if _, _, _, err := AddAccount(ctx, s.DB, tx, name, s.Zones()); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	if err != nil {
		return Credentials{}, err
	}
	return s.credentials(r)
}

// find returns the account of that name or id.
func find(ctx context.Context, rx store.Rx, name string) (cloud.Account, error) {
	a, ok, err := rx.AccountByName(ctx, name)
	if err == nil && !ok {
		a, ok, err = rx.Account(ctx, name)
	}
	if err == nil && !ok {
		err = cloud.Faultf("NoSuchEntity", "There is no account %q; eucad account list names them.", name)
	}
	return a, err
}

func (s *Server) credentials(r *http.Request) (c Credentials, err error) {
	ctx := r.Context()
	err = s.DB.Read(ctx, func(rx store.Rx) error {
		a, err := find(ctx, rx, r.PathValue("name"))
		if err != nil {
			return err
		}
		keys, err := rx.AccessKeys(ctx, a.ID)
		if err != nil {
			return err
		}
		c = Credentials{Account: a.ID, Name: a.Name, Region: s.Region, Endpoint: s.Endpoint}
		for _, k := range keys {
			if !k.Inactive {
				c.AccessKeyID = k.ID
				if _, c.SecretAccessKey, _, err = s.DB.AccessKey(ctx, rx, k.ID); err != nil {
					return err
				}
			}
		}
		if v, err := rx.DefaultVpc(ctx, a.ID); err == nil {
			c.VpcID = v.ID
		}
		return nil
	})
	return c, err
}

// deleteAccount ends all the account's instances, waits until they are gone,
// and removes the account with everything it owns.
func (s *Server) deleteAccount(r *http.Request) (cloud.Account, error) {
	ctx, cancel := context.WithTimeout(audit(r, "DeleteAccount"), deleteTime)
	defer cancel()
	var a cloud.Account
	err := s.DB.Write(ctx, func(tx store.Tx) (err error) {
		if a, err = find(ctx, tx.Rx, r.PathValue("name")); err != nil {
			return err
		}
		return s.endAll(ctx, tx, a)
	})
	for err == nil {
		changed := s.DB.Changed()
		left := 0
		err = s.DB.Write(ctx, func(tx store.Tx) error {
			all, err := tx.Instances(ctx, a.ID)
			if err != nil {
				return err
			}
			for _, i := range all {
				if i.State != cloud.Terminated {
					left++
				}
			}
			if left > 0 {
				return s.endAll(ctx, tx, a) // one may have come meanwhile
			}
			if err := tx.Audit(ctx); err != nil {
				return err
			}
			return tx.DeleteAccount(ctx, a)
		})
		if err != nil || left == 0 {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			err = cloud.Faultf("DeleteConflict", "Account %s still has %d instances that have not ended; try again.", a.Name, left)
		}
	}
	return a, err
}

// endAll terminates the account's instances and their volumes.
func (s *Server) endAll(ctx context.Context, tx store.Tx, a cloud.Account) error {
	all, err := tx.Instances(ctx, a.ID)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.State == cloud.ShuttingDown || i.State == cloud.Terminated {
			continue
		}
		if err := i.Move(cloud.ShuttingDown, tx.Now()); err != nil {
			return err
		}
		for n := range i.Volumes {
			i.Volumes[n].DeleteOnTermination = true
		}
		if err := tx.PutInstance(ctx, i); err != nil {
			return err
		}
	}
	return nil
}
