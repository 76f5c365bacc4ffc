package store

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"math/big"

	"eucad/store/cloud"
)

var (
	accounts = newTable("account", func(a *cloud.Account) string { return a.ID }, func(a *cloud.Account) string { return a.ID },
		"name", func(a *cloud.Account) []any { return []any{a.Name} })
	accessKeys = newTable("access_key", func(k *cloud.AccessKey) string { return k.ID }, func(k *cloud.AccessKey) string { return k.AccountID }, "", nil)
)

// Accounts returns all accounts, by id.
func (rx Rx) Accounts(ctx context.Context) ([]cloud.Account, error) {
	return accounts.query(ctx, rx, "SELECT body FROM account ORDER BY id")
}

// Account returns the account id, and whether there is one.
func (rx Rx) Account(ctx context.Context, id string) (cloud.Account, bool, error) {
	return accounts.find(ctx, rx, id)
}

// AccountByName returns the account of that name, and whether there is one.
func (rx Rx) AccountByName(ctx context.Context, name string) (cloud.Account, bool, error) {
	return firstOf(accounts.query(ctx, rx, "SELECT body FROM account WHERE name = ?", name))
}

// AddAccount makes an account with a fresh id. The name must be free.
func (tx Tx) AddAccount(ctx context.Context, name string) (cloud.Account, error) {
	_, taken, err := tx.AccountByName(ctx, name)
	if err != nil {
		return cloud.Account{}, err
	}
	if taken {
		return cloud.Account{}, cloud.Faultf("EntityAlreadyExists", "Account with name %s already exists.", name)
	}
	n, err := rand.Int(rand.Reader, big.NewInt(9e11))
	if err != nil {
		return cloud.Account{}, err
	}
	a := cloud.Account{ID: fmt.Sprintf("%012d", n.Int64()+1e11), Name: name, Created: tx.now}
	return a, accounts.put(ctx, tx, &a)
}

// DeleteAccount forgets the account, its access keys, and every row that
// still belongs to it. Its instances must be terminated before.
func (tx Tx) DeleteAccount(ctx context.Context, a cloud.Account) error {
	for _, t := range []string{"interface", "instance", "volume", "image", "snapshot", "key_pair", "security_group", "address", "subnet", "gateway",
		"route_table", "acl", "vpc", "tag", "client_token", "access_key"} {
		if err := tx.c.exec(ctx, "DELETE FROM "+t+" WHERE account_id = ?", a.ID); err != nil {
			return err
		}
	}
	return accounts.remove(ctx, tx, a.ID, a.ID)
}

// NewAccessKey makes an access key of the account and returns its secret,
// which is kept sealed.
func (db *DB) NewAccessKey(ctx context.Context, tx Tx, account string) (cloud.AccessKey, string, error) {
	var b [10]byte
	rand.Read(b[:])
	id := "AKIA" + base32.StdEncoding.EncodeToString(b[:])
	var s [30]byte
	rand.Read(s[:])
	secret := base64.StdEncoding.EncodeToString(s[:])
	return db.AddAccessKey(ctx, tx, account, id, secret)
}

// AddAccessKey adds a key whose id and secret were made elsewhere.
func (db *DB) AddAccessKey(ctx context.Context, tx Tx, account, id, secret string) (cloud.AccessKey, string, error) {
	k := cloud.AccessKey{ID: id, AccountID: account, Sealed: db.seal.seal(secret, id), Created: tx.now}
	return k, secret, accessKeys.put(ctx, tx, &k)
}

// AccessKey returns the key id with its secret, and whether there is one.
func (db *DB) AccessKey(ctx context.Context, rx Rx, id string) (k cloud.AccessKey, secret string, ok bool, err error) {
	k, ok, err = accessKeys.find(ctx, rx, id)
	if err == nil && ok {
		secret, err = db.seal.open(k.Sealed, k.ID)
	}
	return k, secret, ok, err
}

// AccessKeys returns the access keys of an account.
func (rx Rx) AccessKeys(ctx context.Context, account string) ([]cloud.AccessKey, error) {
	return accessKeys.list(ctx, rx, account, nil)
}
