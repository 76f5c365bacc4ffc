package store

import (
	"context"

	"eucad/store/cloud"
)

var keyPairs = newTable("key_pair",
	func(k *cloud.KeyPair) string { return k.ID }, func(k *cloud.KeyPair) string { return k.AccountID },
	"name", func(k *cloud.KeyPair) []any { return []any{k.Name} })

// KeyPairs returns the key pairs ids of account, or all of them when no id is given.
func (rx Rx) KeyPairs(ctx context.Context, account string, ids ...string) ([]cloud.KeyPair, error) {
	return keyPairs.list(ctx, rx, account, ids)
}

var keyPairByName = keyPairs.where("account_id = ? AND name = ?")

// KeyPairByName returns the key pair of account with this name.
func (rx Rx) KeyPairByName(ctx context.Context, account, name string) (cloud.KeyPair, error) {
	k, err := keyPairs.query(ctx, rx, keyPairByName, account, name)
	if err == nil && len(k) == 0 {
		err = cloud.Faultf("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", name)
	}
	if err != nil {
		return cloud.KeyPair{}, err
	}
	return k[0], nil
}

// PutKeyPair adds or replaces k; its name must be free (InvalidKeyPair.Duplicate is the action's to say).
func (tx Tx) PutKeyPair(ctx context.Context, k cloud.KeyPair) error { return keyPairs.put(ctx, tx, &k) }

// DeleteKeyPair forgets k and its tags.
func (tx Tx) DeleteKeyPair(ctx context.Context, k cloud.KeyPair) error {
	if err := tx.deleteTags(ctx, k.AccountID, k.ID); err != nil {
		return err
	}
	return keyPairs.remove(ctx, tx, k.AccountID, k.ID)
}
