package ec2

import (
	"context"
	"slices"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
)

// A selection says which resources of one kind a Describe call asks for.
type selection struct {
	prefix  string   // of the resources' ids: "vpc"
	ids     []string // none for all
	filters []wire.Filter
	max     *int64
	token   *string
}

// choose returns the page of resources that a Describe call asks for, each
// with its tags, and the token of the next page. read returns those that ids
// name, or all.
func choose[T any](ctx context.Context, db *store.DB, sel selection, fields query.Fields[tagged[T]], id func(*T) string, read func(store.Rx) ([]T, error)) ([]tagged[T], *string, error) {
	match, err := query.Compile(wire.Filters(sel.filters), fields, tagged[T].tagMap)
	if err != nil {
		return nil, nil, err
	}
	if err := checkIDs(sel.prefix, sel.ids...); err != nil {
		return nil, nil, err
	}
	var all []tagged[T]
	err = db.Read(ctx, func(rx store.Rx) error {
		list, err := read(rx)
		if err != nil {
			return err
		}
		tags, err := rx.TagsByResource(ctx, account(ctx), sel.prefix+"-", sel.ids...)
		all = withTags(list, id, tags)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return query.Page(ctx, keep(all, match), func(t tagged[T]) string { return id(&t.v) }, sel.max, sel.token, query.Thousand)
}

// fields makes a filter that knows several values of a noun.
func fields[T any](get func(*T) []string) func(tagged[T]) []string {
	return func(t tagged[T]) []string { return get(&t.v) }
}

// truth makes a filter of a noun's yes or no.
func truth[T any](get func(*T) bool) func(tagged[T]) []string {
	return func(t tagged[T]) []string { return yesNo(get(&t.v)) }
}

// always makes a filter of a value that all nouns of a kind have; "" for none.
func always[T any](v string) func(tagged[T]) []string {
	return func(tagged[T]) []string { return some(v) }
}

// arn returns the Amazon Resource Name of a resource.
func (s *Server) arn(account, kind, id string) *string {
	return query.Ptr("arn:aws:ec2:" + s.Cfg.Region + ":" + account + ":" + kind + "/" + id)
}

// exact returns the values of the named filter when there is one without
// wildcards, so that a call need not read more than it shows.
func exact(filters []wire.Filter, name string) ([]string, bool) {
	for _, f := range filters {
		if query.Val(f.Name) == name && len(f.Values) > 0 && !hasWildcard(f.Values) {
			return f.Values, true
		}
	}
	return nil, false
}

func hasWildcard(values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, `*?\`) })
}
