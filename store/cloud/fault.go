package cloud

import (
	"errors"
	"fmt"
)

// A Fault is an error meant for the caller of an API. Code is AWS's own; Msg
// names the thing and, where it can, what would work. Any other error is ours
// and reaches the caller only as InternalError.
type Fault struct {
	Code string
	Msg  string
}

func (f *Fault) Error() string { return f.Code + ": " + f.Msg }

// Faultf returns a *Fault.
func Faultf(code, format string, args ...any) error {
	return &Fault{code, fmt.Sprintf(format, args...)}
}

// FaultCode returns the code of the Fault in err's chain, or "".
func FaultCode(err error) string {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f.Code
	}
	return ""
}

// ErrDryRun is what store.DB.Write returns when all of it would have worked
// but the call only asked whether it would.
var ErrDryRun = errors.New("dry run")
