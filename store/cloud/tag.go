package cloud

// A Tag is a word its owner hung on a resource.
type Tag struct {
	ResourceID string
	Key, Value string
}
