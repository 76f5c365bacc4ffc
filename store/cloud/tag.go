package cloud

import "regexp"

// A Tag is a word its owner hung on a resource.
type Tag struct {
	ResourceID string
	Key, Value string
}

var metadataKey = regexp.MustCompile(`^[A-Za-z0-9+\-=.,_:@]{1,128}$`)

// IsMetadataKey reports whether a tag's key may be in a path of an instance's
// metadata (EC2 docs: "Work with instance tags in instance metadata").
func IsMetadataKey(key string) bool {
	return metadataKey.MatchString(key) && key != "." && key != ".." && key != "_index"
}
