package peer

import (
	"net/http"
	"strconv"
	"strings"
)

// versionHeader carries the sender's version in every request and answer.
const versionHeader = "Eucad-Version"

// version returns the major and minor part of 1.2, v1.2.3 or 1.2.3-rc1.
func version(s string) (major, minor int, ok bool) {
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "-")
	parts := strings.Split(s, ".")
	if len(parts) < 2 {
		return 0, 0, false
	}
	// 16 bits: far above what we count to, and sums cannot overflow.
	a, err1 := strconv.ParseUint(parts[0], 10, 16)
	b, err2 := strconv.ParseUint(parts[1], 10, 16)
	return int(a), int(b), err1 == nil && err2 == nil
}

// checkVersion says whether a host of version own talks to one of version
// other. Fields are only ever added to messages, so the previous minor version
// is understood; whether a newer one understands us is the newer one's to say.
func checkVersion(own, other string) error {
	major, minor, ok := version(other)
	if !ok {
		return Errorf(http.StatusBadRequest, VersionRefused, "the peer states no version of eucad in %s", versionHeader)
	}
	ownMajor, ownMinor, _ := version(own)
	switch {
	case major != ownMajor:
		return Errorf(http.StatusBadRequest, VersionRefused, "eucad %s and %s do not work together: they differ in the major version", clip(other), own)
	case minor < ownMinor-1:
		return Errorf(http.StatusBadRequest, VersionRefused, "eucad %s is too old for %s: bring it to %d.%d first", clip(other), own, ownMajor, ownMinor-1)
	}
	return nil
}
