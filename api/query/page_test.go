package query_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"eucad/api/query"
	"eucad/store/cloud"
)

func pageContext(account, action string) context.Context {
	r := &query.Request{Account: account, Service: "ec2", Action: action}
	r.SetPageKey([]byte("key"))
	return query.WithTestRequest(context.Background(), r, false)
}

func self(s string) string { return s }

func TestPage(t *testing.T) {
	t.Parallel()
	ctx := pageContext("1", "DescribeInstances")
	var items []string
	for i := range 12 {
		items = append(items, fmt.Sprintf("i-%02d", i))
	}
	page, next, err := query.Page(ctx, items, self, new(int64(5)), nil, query.Thousand)
	if err != nil || !slices.Equal(page, items[:5]) || next == nil {
		t.Fatalf("first page = %v, %v, %v", page, next, err)
	}
	// The last item seen goes and one comes before it: the next page still starts after it.
	changed := append([]string{"i-000"}, slices.Delete(slices.Clone(items), 4, 5)...)
	page, next, err = query.Page(ctx, changed, self, new(int64(5)), next, query.Thousand)
	if err != nil || !slices.Equal(page, items[5:10]) || next == nil {
		t.Fatalf("second page = %v, %v, %v", page, next, err)
	}
	page, next, err = query.Page(ctx, items, self, new(int64(5)), next, query.Thousand)
	if err != nil || !slices.Equal(page, items[10:]) || next != nil {
		t.Fatalf("last page = %v, %v, %v", page, next, err)
	}
	page, next, err = query.Page(ctx, items, self, nil, nil, query.Thousand)
	if err != nil || len(page) != 12 || next != nil {
		t.Errorf("without MaxResults: %d items, %v, %v", len(page), next, err)
	}
	page, next, err = query.Page(ctx, items, self, nil, new(""), query.Limit{Min: 5, Max: 10, Default: 10})
	if err != nil || len(page) != 10 || next == nil {
		t.Errorf("with a default of 10: %d items, %v, %v", len(page), next, err)
	}
	page, _, err = query.Page(ctx, items, self, new(int64(1e9)), nil, query.Limit{Min: 5, Max: 10})
	if err != nil || len(page) != 10 {
		t.Errorf("over the maximum: %d items, %v", len(page), err)
	}
}

func TestPageFaults(t *testing.T) {
	t.Parallel()
	ctx := pageContext("1", "DescribeInstances")
	good := *query.PageToken(ctx, "i-1")
	for _, tt := range []struct {
		name  string
		ctx   context.Context
		max   int64
		token string
		code  string
	}{
		{"under the minimum", ctx, 4, "", "InvalidParameterValue"},
		{"negative", ctx, -1, "", "InvalidParameterValue"},
		{"good", ctx, 5, good, ""},
		{"not base64", ctx, 5, "?", "InvalidNextToken"},
		{"too short", ctx, 5, good[:8], "InvalidNextToken"},
		{"changed", ctx, 5, good[:len(good)-1] + "A", "InvalidNextToken"},
		{"of another account", pageContext("2", "DescribeInstances"), 5, good, "InvalidNextToken"},
		{"of another action", pageContext("1", "DescribeVolumes"), 5, good, "InvalidNextToken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := query.Page(tt.ctx, []string{"i-1"}, self, &tt.max, &tt.token, query.Thousand)
			if code := cloud.FaultCode(err); code != tt.code {
				t.Errorf("Page: %v, want %q", err, tt.code)
			}
		})
	}
}

// TestPagesCoverAll walks through pages while items come and go: what stays
// all the time is seen exactly once.
func TestPagesCoverAll(t *testing.T) {
	t.Parallel()
	ctx := pageContext("1", "DescribeInstances")
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,3}`), 1, 40, self)
		stay, move := ids.Draw(t, "stay"), ids.Draw(t, "move")
		move = slices.DeleteFunc(move, func(s string) bool { return slices.Contains(stay, s) })
		seen := map[string]int{}
		var token *string
		for range 50 {
			items := slices.Clone(stay)
			for _, m := range move {
				if rapid.Bool().Draw(t, "there") {
					items = append(items, m)
				}
			}
			slices.Sort(items)
			page, next, err := query.Page(ctx, items, self, new(int64(5)), token, query.Thousand)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page {
				seen[s]++
			}
			if token = next; token == nil {
				break
			}
		}
		if token != nil {
			t.Fatal("the pages do not end")
		}
		for _, s := range stay {
			if seen[s] != 1 {
				t.Fatalf("%s was seen %d times", s, seen[s])
			}
		}
	})
}

func FuzzPageToken(f *testing.F) {
	ctx := pageContext("1", "DescribeInstances")
	f.Add(*query.PageToken(ctx, "i-1"))
	f.Fuzz(func(t *testing.T, token string) {
		key, err := query.PageStart(ctx, &token)
		if err == nil && token != "" && *query.PageToken(ctx, key) != token && len(key) == 0 {
			t.Errorf("token %q was accepted for no key", token)
		}
	})
}
