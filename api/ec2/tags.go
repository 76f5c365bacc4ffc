package ec2

import (
	"context"
	"slices"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// maxTagged is how many resources one call tags, as on EC2.
const maxTagged = 1000

// createTags hangs tags on resources, or changes their values.
func (s *Server) createTags(ctx context.Context, in *wire.CreateTagsInput) (*wire.CreateTagsOutput, error) {
	if len(in.Tags) == 0 {
		return nil, missing("Tag")
	}
	tags, err := readTags(in.Tags)
	if err != nil {
		return nil, err
	}
	err = s.changeTags(ctx, in.Resources, func(tx store.Tx, acct, id string, have []cloud.Tag) error {
		keys := make(map[string]bool, len(have)+len(tags))
		for _, t := range have {
			keys[t.Key] = true
		}
		for _, t := range tags {
			keys[t.Key] = true
			t.ResourceID = id
			if err := tx.PutTag(ctx, acct, t); err != nil {
				return err
			}
		}
		if strings.HasPrefix(id, "i-") {
			i, err := tx.Instance(ctx, acct, id)
			if err == nil {
				err = checkMetadataKeys(i.Metadata, tags)
			}
			if err != nil {
				return err
			}
		}
		if len(keys) > maxTags {
			return cloud.Faultf("TagLimitExceeded", "The maximum number of Tags for a resource has been reached: '%s' would have %d, more than %d.", id, len(keys), maxTags)
		}
		return nil
	})
	return nil, err
}

// deleteTags takes tags off resources: those of a key, or of a key and a value
// when the request has one (be it empty), or all. A tag that is not there is
// no error.
func (s *Server) deleteTags(ctx context.Context, in *wire.DeleteTagsInput) (*wire.DeleteTagsOutput, error) {
	for _, t := range in.Tags {
		if err := checkTag(cloud.Tag{Key: query.Val(t.Key), Value: query.Val(t.Value)}); err != nil {
			return nil, err
		}
	}
	err := s.changeTags(ctx, in.Resources, func(tx store.Tx, acct, id string, have []cloud.Tag) error {
		for _, t := range have {
			if !tagNamed(in.Tags, t) {
				continue
			}
			if err := tx.DeleteTag(ctx, acct, id, t.Key); err != nil {
				return err
			}
		}
		return nil
	})
	return nil, err
}

func tagNamed(asked []wire.Tag, t cloud.Tag) bool {
	for _, a := range asked {
		if *a.Key == t.Key && (a.Value == nil || *a.Value == t.Value) {
			return true
		}
	}
	return len(asked) == 0
}

// changeTags calls change for each of the resources, which must be the
// caller's, with the tags that it has.
func (s *Server) changeTags(ctx context.Context, ids []string, change func(tx store.Tx, account, id string, have []cloud.Tag) error) error {
	switch {
	case len(ids) == 0:
		return missing("ResourceId")
	case len(ids) > maxTagged:
		return cloud.Faultf("InvalidParameterValue", "One call takes up to %d resources; you named %d.", maxTagged, len(ids))
	}
	return s.DB.Write(ctx, func(tx store.Tx) error {
		acct := account(ctx)
		o := owned{rx: tx.Rx, account: acct}
		for _, id := range ids {
			if err := o.check(ctx, id); err != nil {
				return err
			}
			have, err := tx.Tags(ctx, acct, "", id)
			if err != nil {
				return err
			}
			if err := change(tx, acct, id, have); err != nil {
				return err
			}
		}
		return tx.Audit(ctx)
	})
}

// An owned tells which resources are an account's.
type owned struct {
	rx      store.Rx
	account string
	rules   map[string]bool // ids of security group rules, once one was asked for
}

// check returns a Fault unless the resource id can be tagged and is the account's.
func (o *owned) check(ctx context.Context, id string) error {
	prefix, _, _ := strings.Cut(id, "-")
	read := map[string]func() error{
		"ami":      func() error { return o.image(ctx, id) },
		"aki":      func() error { return o.image(ctx, id) },
		"ari":      func() error { return o.image(ctx, id) },
		"acl":      func() error { return second(o.rx.Acls(ctx, o.account, id)) },
		"dopt":     func() error { return o.dhcpOptions(ctx, id) },
		"eipalloc": func() error { return second(elasticIP(ctx, o.rx, o.account, id)) },
		"eni":      func() error { return second(o.rx.Interface(ctx, o.account, id)) },
		"i":        func() error { return second(o.rx.Instance(ctx, o.account, id)) },
		"igw":      func() error { return second(o.rx.Gateways(ctx, o.account, id)) },
		"key":      func() error { return second(o.rx.KeyPairs(ctx, o.account, id)) },
		"rtb":      func() error { return second(o.rx.RouteTables(ctx, o.account, id)) },
		"sg":       func() error { return second(o.rx.Group(ctx, o.account, id)) },
		"sgr":      func() error { return o.rule(ctx, id) },
		"snap":     func() error { return second(o.rx.Snapshot(ctx, o.account, id)) },
		"subnet":   func() error { return second(o.rx.Subnet(ctx, o.account, id)) },
		"vol":      func() error { return second(o.rx.Volume(ctx, o.account, id)) },
		"vpc":      func() error { return second(o.rx.Vpc(ctx, o.account, id)) },
	}[prefix]
	if read == nil {
		return cloud.Faultf("InvalidID", "The ID '%s' is not valid", clip(id))
	}
	if err := checkIDs(prefix, id); err != nil {
		return err
	}
	return read()
}

func second[T any](_ T, err error) error { return err }

// image checks an image: others' may be visible, but they are not to be tagged.
func (o *owned) image(ctx context.Context, id string) error {
	m, err := o.rx.Image(ctx, o.account, id)
	if err == nil && m.AccountID != o.account {
		err = cloud.NotFound(id)
	}
	return err
}

func (o *owned) dhcpOptions(ctx context.Context, id string) error {
	vpcs, err := o.rx.Vpcs(ctx, o.account)
	for _, v := range vpcs {
		if v.DhcpOptionsID == id {
			return nil
		}
	}
	if err == nil {
		err = cloud.NotFound(id)
	}
	return err
}

func (o *owned) rule(ctx context.Context, id string) error {
	if o.rules == nil {
		groups, err := o.rx.Groups(ctx, o.account)
		if err != nil {
			return err
		}
		o.rules = map[string]bool{}
		for _, g := range groups {
			for i := range g.Rules {
				o.rules[g.Rules[i].ID] = true
			}
		}
	}
	if !o.rules[id] {
		return cloud.NotFound(id)
	}
	return nil
}

// describeTags lists tags.
func (s *Server) describeTags(ctx context.Context, in *wire.DescribeTagsInput) (*wire.DescribeTagsOutput, error) {
	match, err := query.Compile(wire.Filters(in.Filters), tagFilters, func(t cloud.Tag) map[string]string { return map[string]string{t.Key: t.Value} })
	if err != nil {
		return nil, err
	}
	ids, _ := exact(in.Filters, "resource-id")
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var all []cloud.Tag
	err = s.DB.Read(ctx, func(rx store.Rx) (err error) {
		all, err = rx.Tags(ctx, account(ctx), "", ids...)
		return err
	})
	if err != nil {
		return nil, err
	}
	key := func(t cloud.Tag) string { return t.ResourceID + "\x00" + t.Key }
	page, next, err := query.Page(ctx, keep(all, match), key, in.MaxResults, in.NextToken, query.Thousand)
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeTagsOutput{NextToken: next, Tags: make([]wire.TagDescription, len(page))}
	for n := range page {
		t := &page[n]
		out.Tags[n] = wire.TagDescription{ResourceId: &t.ResourceID, ResourceType: query.Ptr(cloud.ResourceType(t.ResourceID)), Key: &t.Key, Value: &t.Value}
	}
	return out, nil
}

var tagFilters = query.Fields[cloud.Tag]{
	"key":           func(t cloud.Tag) []string { return one(t.Key) },
	"resource-id":   func(t cloud.Tag) []string { return one(t.ResourceID) },
	"resource-type": func(t cloud.Tag) []string { return one(cloud.ResourceType(t.ResourceID)) },
	"value":         func(t cloud.Tag) []string { return one(t.Value) },
}
