package query

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"eucad/store/cloud"
)

// A Limit bounds MaxResults. Min 0 means 1; Default 0 means that a call
// without MaxResults gets everything at once.
type Limit struct{ Min, Max, Default int }

// Thousand is the limit of most Describe calls of EC2.
var Thousand = Limit{Min: 5, Max: 1000}

// MaxResults returns how many results to give, 0 for all. Under the minimum is
// the caller's fault; over the maximum means the maximum, as with EC2.
func MaxResults(max *int64, l Limit) (int, error) {
	if max == nil {
		return l.Default, nil
	}
	low := int64(l.Min)
	if low < 1 {
		low = 1
	}
	if *max < low {
		return 0, cloud.Faultf("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than or equal to %d.", *max, low)
	}
	return int(min(*max, int64(l.Max))), nil
}

// Page returns the part of items that the caller asks for, and the token of
// the next part. The token holds the key of the last item seen, so pages stay
// right when items come and go; items must be sorted by key, each key once.
func Page[T any](ctx context.Context, items []T, key func(T) string, max *int64, token *string, l Limit) ([]T, *string, error) {
	n, err := MaxResults(max, l)
	if err != nil {
		return nil, nil, err
	}
	after, err := PageStart(ctx, token)
	if err != nil {
		return nil, nil, err
	}
	if after != "" {
		i, found := slices.BinarySearchFunc(items, after, func(v T, k string) int { return strings.Compare(key(v), k) })
		if found {
			i++
		}
		items = items[i:]
	}
	if n == 0 || len(items) <= n {
		return items, nil, nil
	}
	items = items[:n]
	return items, PageToken(ctx, key(items[n-1])), nil
}

const macSize = 16 // bytes of the HMAC that a token carries

// PageStart returns the key in a token made by PageToken, "" when there is no
// token. A token of another account, action or cloud, or a forged one, is
// InvalidNextToken.
func PageStart(ctx context.Context, token *string) (string, error) {
	if token == nil || *token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(*token)
	if err == nil && len(raw) > macSize {
		key := string(raw[macSize:])
		if hmac.Equal(raw[:macSize], pageMAC(ctx, key)) {
			return key, nil
		}
	}
	return "", cloud.Faultf("InvalidNextToken", "The token '%s' is invalid", clip(*token))
}

// PageToken returns the token for what follows key, which must not be empty.
func PageToken(ctx context.Context, key string) *string {
	return new(base64.RawURLEncoding.EncodeToString(append(pageMAC(ctx, key), key...)))
}

func pageMAC(ctx context.Context, key string) []byte {
	r := FromContext(ctx)
	m := hmac.New(sha256.New, r.pageKey)
	for _, s := range []string{r.Account, r.Service, r.Action, key} {
		m.Write([]byte(s))
		m.Write([]byte{0})
	}
	return m.Sum(nil)[:macSize]
}
