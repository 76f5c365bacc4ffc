package ec2

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// EC2's limits of tags ("Tag restrictions").
const (
	maxTags     = 50  // of a resource
	maxTagKey   = 128 // characters
	maxTagValue = 256
)

// specifiedTags are the tags that a request asks for, by type of resource.
type specifiedTags map[string][]cloud.Tag

// readTagSpecifications reads the TagSpecification.N of a request; only the
// given types of resource may be tagged by it.
func readTagSpecifications(specs []wire.TagSpecification, types ...string) (specifiedTags, error) {
	out := specifiedTags{}
	for _, spec := range specs {
		kind := query.Val(spec.ResourceType)
		switch {
		case kind == "":
			return nil, missing("TagSpecification.ResourceType")
		case !slices.Contains(types, kind):
			return nil, cloud.Faultf("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", clip(kind))
		case out[kind] != nil:
			return nil, cloud.Faultf("InvalidParameterValue", "The resource type '%s' has more than one tag specification.", kind)
		}
		tags, err := readTags(spec.Tags)
		if err != nil {
			return nil, err
		}
		out[kind] = tags
	}
	return out, nil
}

// readTags checks tags of a request by EC2's rules.
func readTags(in []wire.Tag) ([]cloud.Tag, error) {
	out := make([]cloud.Tag, 0, len(in))
	for _, w := range in {
		t := cloud.Tag{Key: query.Val(w.Key), Value: query.Val(w.Value)}
		if err := checkTag(t); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o cloud.Tag) bool { return o.Key == t.Key }) {
			return nil, cloud.Faultf("InvalidParameterValue", "Duplicate tag key '%s' specified.", t.Key)
		}
		out = append(out, t)
	}
	if len(out) > maxTags {
		return nil, cloud.Faultf("TagLimitExceeded", "More than %d tags for a resource were specified.", maxTags)
	}
	return out, nil
}

func checkTag(t cloud.Tag) error {
	switch {
	case t.Key == "":
		return missing("Tag.Key")
	case utf8.RuneCountInString(t.Key) > maxTagKey:
		return cloud.Faultf("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxTagKey)
	case utf8.RuneCountInString(t.Value) > maxTagValue:
		return cloud.Faultf("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxTagValue)
	case len(t.Key) >= 4 && strings.EqualFold(t.Key[:4], "aws:"):
		return cloud.Faultf("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
	}
	return nil
}

// checkMetadataKeys returns a Fault for a tag that an instance cannot have
// whose metadata show its tags.
func checkMetadataKeys(o cloud.MetadataOptions, tags []cloud.Tag) error {
	if o.Tags != "enabled" {
		return nil
	}
	for _, t := range tags {
		if !cloud.IsMetadataKey(t.Key) {
			return cloud.Faultf("InvalidParameterValue", "'%s' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{1,128}), and must not be a reserved name ('.', '..', '_index'), while the tags are in the instance's metadata.", clip(t.Key))
		}
	}
	return nil
}

// put hangs the tags for a type of resource on the resource id.
func (s specifiedTags) put(ctx context.Context, tx store.Tx, account, kind, id string) error {
	for _, t := range s[kind] {
		t.ResourceID = id
		if err := tx.PutTag(ctx, account, t); err != nil {
			return err
		}
	}
	return nil
}
