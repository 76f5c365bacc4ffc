package frontend

import (
	"context"
	"net/http"
	"time"

	"eucad/roles/peer"
	"eucad/store"
	"eucad/store/cloud"
)

// trust keeps the authority's tokens and names in the store.
type trust struct {
	db  *store.DB
	own string // name of this host, when it is a node; else ""
}

var (
	_ peer.TokenStore = trust{}
	_ peer.NameStore  = trust{}
)

func record(t cloud.JoinToken) peer.TokenRecord {
	return peer.TokenRecord{ID: t.ID, Hash: t.Hash, Role: peer.Role(t.Role), Zone: t.Zone, Created: t.Created, Expires: t.Expires, Used: t.Used, UsedBy: t.UsedBy, Revoked: t.Revoked}
}

// Add keeps a new token; see peer.TokenStore.
func (s trust) Add(ctx context.Context, r peer.TokenRecord) error {
	return s.db.Write(ctx, func(tx store.Tx) error {
		t := cloud.JoinToken{ID: r.ID, Hash: r.Hash, Role: string(r.Role), Zone: r.Zone, Created: r.Created, Expires: r.Expires, Used: r.Used, UsedBy: r.UsedBy, Revoked: r.Revoked}
		if err := tx.PutJoinToken(ctx, t); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
}

// Find returns a token; see peer.TokenStore.
func (s trust) Find(ctx context.Context, id string) (r peer.TokenRecord, found bool, err error) {
	err = s.db.Read(ctx, func(rx store.Rx) error {
		t, ok, err := rx.JoinToken(ctx, id)
		r, found = record(t), ok
		return err
	})
	return r, found, err
}

// List returns all tokens; see peer.TokenStore.
func (s trust) List(ctx context.Context) (out []peer.TokenRecord, err error) {
	err = s.db.Read(ctx, func(rx store.Rx) error {
		all, err := rx.JoinTokens(ctx)
		for _, t := range all {
			out = append(out, record(t))
		}
		return err
	})
	return out, err
}

// Use spends a token; see peer.TokenStore.
func (s trust) Use(ctx context.Context, id, by string, at time.Time) (used bool, err error) {
	err = s.change(ctx, id, func(t *cloud.JoinToken) {
		if used = t.Used.IsZero() && t.Revoked.IsZero(); used {
			t.Used, t.UsedBy = at.UTC(), by
		}
	})
	return used, err
}

// Revoke takes a token back; see peer.TokenStore.
func (s trust) Revoke(ctx context.Context, id string, at time.Time) error {
	return s.change(ctx, id, func(t *cloud.JoinToken) {
		if t.Revoked.IsZero() {
			t.Revoked = at.UTC()
		}
	})
}

func (s trust) change(ctx context.Context, id string, f func(*cloud.JoinToken)) error {
	return s.db.Write(ctx, func(tx store.Tx) error {
		t, ok, err := tx.JoinToken(ctx, id)
		if err == nil && !ok {
			err = cloud.Faultf("NoSuchEntity", "There is no token %s; eucad token list names them.", id)
		}
		if err != nil {
			return err
		}
		f(&t)
		return tx.PutJoinToken(ctx, t)
	})
}

// Claim gives a name to a host; see peer.NameStore. Nodes and heads are known by
// their names alone, so no two have the same, whatever their zones and roles.
func (s trust) Claim(ctx context.Context, id peer.Identity, key string) (ok bool, err error) {
	if id.Name == s.own {
		return false, nameTaken(id.Name, "this front end")
	}
	err = s.db.Write(ctx, func(tx store.Tx) error {
		others, err := tx.HostsNamed(ctx, id.Name)
		if err != nil {
			return err
		}
		for _, o := range others {
			if o != id.String() {
				return nameTaken(id.Name, o)
			}
		}
		ok, err = tx.ClaimHost(ctx, id.String(), key)
		return err
	})
	return ok, err
}

func nameTaken(name, by string) error {
	return peer.Errorf(http.StatusConflict, peer.NameTaken, "the name %s belongs to %s: give this host another one (in the file name of its directory), or remove that one", name, by)
}
