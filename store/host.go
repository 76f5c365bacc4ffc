package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"eucad/store/cloud"
)

var joinTokens = newTable("join_token", func(t *cloud.JoinToken) string { return t.ID }, func(*cloud.JoinToken) string { return "" }, "", nil)

// JoinTokens returns all tokens by which hosts may join or did.
func (rx Rx) JoinTokens(ctx context.Context) ([]cloud.JoinToken, error) {
	return joinTokens.list(ctx, rx, "", nil)
}

// JoinToken returns the token id, and whether there is one.
func (rx Rx) JoinToken(ctx context.Context, id string) (cloud.JoinToken, bool, error) {
	return joinTokens.find(ctx, rx, id)
}

// PutJoinToken adds or replaces t.
func (tx Tx) PutJoinToken(ctx context.Context, t cloud.JoinToken) error {
	return joinTokens.put(ctx, tx, &t)
}

// ClaimHost gives the name in identity to the host with this key, unless
// another key has it: then it returns false.
func (tx Tx) ClaimHost(ctx context.Context, identity, key string) (bool, error) {
	var holder string
	err := tx.c.queryRow(ctx, `SELECT key FROM host_key WHERE identity = ?`, identity).Scan(&holder)
	if errors.Is(err, sql.ErrNoRows) {
		return true, tx.c.exec(ctx, `INSERT INTO host_key (identity, key) VALUES (?, ?)`, identity, key)
	}
	return holder == key, err
}

// HostsNamed returns the identities with this name that hosts have.
func (rx Rx) HostsNamed(ctx context.Context, name string) ([]string, error) {
	all, err := rx.strings(ctx, `SELECT identity FROM host_key ORDER BY identity`)
	return slices.DeleteFunc(all, func(id string) bool { return !strings.HasSuffix(id, "/"+name) }), err
}

// FreeHost gives up the name in identity: another host may have it.
func (tx Tx) FreeHost(ctx context.Context, identity string) error {
	return tx.c.exec(ctx, `DELETE FROM host_key WHERE identity = ?`, identity)
}

// DenyHosts shuts out hosts by identity.
func (tx Tx) DenyHosts(ctx context.Context, identities ...string) error {
	for _, id := range identities {
		if err := tx.c.exec(ctx, `INSERT INTO host_denied (identity) VALUES (?) ON CONFLICT (identity) DO NOTHING`, id); err != nil {
			return err
		}
	}
	return nil
}

// AdmitHost takes back DenyHosts.
func (tx Tx) AdmitHost(ctx context.Context, identity string) error {
	return tx.c.exec(ctx, `DELETE FROM host_denied WHERE identity = ?`, identity)
}

// DeniedHosts returns the identities that are shut out.
func (rx Rx) DeniedHosts(ctx context.Context) ([]string, error) {
	return rx.strings(ctx, `SELECT identity FROM host_denied ORDER BY identity`)
}
