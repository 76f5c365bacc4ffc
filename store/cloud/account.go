package cloud

import "time"

// An Account owns resources; nothing of one account is visible to another.
type Account struct {
	ID      string // 12 digits
	Name    string
	Created time.Time
}

// An AccessKey signs API calls for an account.
type AccessKey struct {
	ID        string // "AKIA" and 16 characters
	AccountID string
	Sealed    []byte // the secret, encrypted with the key beside the store
	Inactive  bool
	Created   time.Time
}
