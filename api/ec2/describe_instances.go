package ec2

import (
	"context"
	"maps"
	"slices"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// describeInstances tells about instances; see views for how it is fast.
func (s *Server) describeInstances(ctx context.Context, in *wire.DescribeInstancesInput) (*instancesAnswer, error) {
	if len(in.InstanceIds) > 0 && in.MaxResults != nil {
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	fields, err := s.instanceFields(ctx, in.Filters)
	if err != nil {
		return nil, err
	}
	match, err := query.Compile(wire.Filters(in.Filters), fields, (*instanceItem).tagMap)
	if err != nil {
		return nil, err
	}
	items, err := s.selectInstances(ctx, in.InstanceIds)
	if err != nil {
		return nil, err
	}
	items = keep(items, match)
	page, next, err := query.Page(ctx, items, (*instanceItem).pageKey, in.MaxResults, in.NextToken, query.Thousand)
	if err != nil {
		return nil, err
	}
	return &instancesAnswer{page, next}, nil
}

// instanceFields returns the filters of a call: those by tags of interfaces,
// which no view holds, read them when they are asked for.
func (s *Server) instanceFields(ctx context.Context, filters []wire.Filter) (query.Fields[*instanceItem], error) {
	const byKey, byValue = "network-interface.tag-key", "network-interface.tag-value"
	if !slices.ContainsFunc(filters, func(f wire.Filter) bool { return query.Val(f.Name) == byKey || query.Val(f.Name) == byValue }) {
		return instanceFilters, nil
	}
	var tags map[string][]cloud.Tag
	err := s.DB.Read(ctx, func(rx store.Rx) (err error) {
		tags, err = rx.TagsByResource(ctx, account(ctx), "eni-")
		return err
	})
	fields := maps.Clone(instanceFilters)
	fields[byKey] = ofNICs(func(n *nic) []string { return each(tags[n.ID], func(t *cloud.Tag) string { return t.Key }) })
	fields[byValue] = ofNICs(func(n *nic) []string { return each(tags[n.ID], func(t *cloud.Tag) string { return t.Value }) })
	return fields, err
}

func (it *instanceItem) pageKey() string           { return it.key }
func (it *instanceItem) tagMap() map[string]string { return it.tagged }

// keep returns the things that match, all of them when match is nil. It
// overwrites list.
func keep[T any](list []T, match func(T) bool) []T {
	if match == nil {
		return list
	}
	out := list[:0]
	for _, v := range list {
		if match(v) {
			out = append(out, v)
		}
	}
	return out
}

// instancesAnswer is a wire.DescribeInstancesOutput whose instances are
// encoded already.
type instancesAnswer struct {
	items []*instanceItem
	next  *string
}

// AppendXML writes what a wire.DescribeInstancesOutput would; a test compares.
func (a *instancesAnswer) AppendXML(b []byte) []byte { return a.StreamXML(b, query.Keep) }

// StreamXML is AppendXML in pieces.
func (a *instancesAnswer) StreamXML(b []byte, flush func([]byte) []byte) []byte {
	b = query.AppendString(b, "<nextToken>", a.next, "</nextToken>")
	if len(a.items) == 0 {
		return append(b, "<reservationSet/>"...)
	}
	b = append(b, "<reservationSet>"...)
	for i, it := range a.items {
		if i == 0 || it.ReservationID != a.items[i-1].ReservationID {
			b = append(b, "<item><reservationId>"...)
			b = append(b, it.ReservationID...)
			b = append(b, "</reservationId><ownerId>"...)
			b = append(b, it.AccountID...)
			b = append(b, "</ownerId><groupSet/><instancesSet>"...)
		}
		b = append(b, "<item>"...)
		b = append(b, it.xml...)
		b = append(b, "</item>"...)
		if i == len(a.items)-1 || it.ReservationID != a.items[i+1].ReservationID {
			b = append(b, "</instancesSet></item>"...)
		}
		b = flush(b)
	}
	return append(b, "</reservationSet>"...)
}
