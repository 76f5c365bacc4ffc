package query

// ParseTree turns a form into the tree that decoders read.
func ParseTree(form string) (*Node, error) {
	ps, err := parseForm(nil, form)
	if err != nil {
		return nil, err
	}
	root, _, err := newTree(ps)
	return root, err
}

// WithTestRequest is what the Handler does to a context.
var WithTestRequest = withRequest

// SetPageKey gives r the key of a Handler.
func (r *Request) SetPageKey(key []byte) { r.pageKey = key }
