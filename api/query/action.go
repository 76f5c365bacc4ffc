package query

import "context"

// An Action serves one action of the server S.
type Action[S any] func(ctx context.Context, s S, params *Node) (Output, error)

// outputOf is what a pointer to an answer type can do.
type outputOf[T any] interface {
	*T
	Output
}

// Handle makes an Action of a method that takes and returns wire types. A nil
// answer means an empty one. It uses no reflection.
func Handle[S, In, Out any, PI Input[In], PO outputOf[Out]](do func(S, context.Context, *In) (*Out, error)) Action[S] {
	return func(ctx context.Context, s S, params *Node) (Output, error) {
		in := new(In)
		var d Decoder
		PI(in).DecodeQuery(&d, params)
		if err := d.Err(); err != nil {
			return nil, err
		}
		out, err := do(s, ctx, in)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = new(Out)
		}
		return PO(out), nil
	}
}

// A Dialect is how an API writes answers and errors.
type Dialect int

// The dialects.
const (
	EC2      Dialect = iota // requestId first, no wrapper; EC2 and its likes
	AWSQuery                // ActionResult and ResponseMetadata; STS, IAM and most others
)

// A Service is one API behind a Handler.
type Service struct {
	Name      string          // such as "ec2"
	Dialect   Dialect         // how it writes answers
	Version   string          // API version assumed when a request names none
	Namespace string          // XML namespace, up to the version: "http://ec2.amazonaws.com/doc/"
	Known     map[string]bool // every action of the API, so that an unserved one gets an honest answer

	actions map[string]func(context.Context, *Node) (Output, error)
}

// NewService returns def with actions served by s.
func NewService[S any](def Service, s S, actions map[string]Action[S]) *Service {
	def.actions = make(map[string]func(context.Context, *Node) (Output, error), len(actions))
	for name, do := range actions {
		def.actions[name] = func(ctx context.Context, params *Node) (Output, error) { return do(ctx, s, params) }
	}
	return &def
}

// Ptr returns a pointer to v, for the optional members of wire types.
func Ptr[T any](v T) *T { return &v }

// Val returns what p points to, or the zero value when p is nil: for optional
// parameters where absent and zero mean the same.
func Val[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
