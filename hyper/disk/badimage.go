package disk

import (
	"errors"
	"fmt"
)

// ErrBadImage is what the errors are that tell of a file which is no image, or
// none that is taken. Their text is a sentence for the person who brought it.
var ErrBadImage = errors.New("bad image")

type badImage string

func (e badImage) Error() string { return string(e) }

func (badImage) Is(target error) bool { return target == ErrBadImage }

func badf(format string, args ...any) error { return badImage(fmt.Sprintf(format, args...)) }

// sizeText writes a number of bytes for people.
func sizeText(n int64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if one := int64(1) << (40 - 10*i); n >= one {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(one), unit)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
