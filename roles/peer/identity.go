package peer

import (
	"fmt"
	"strings"
)

// A Role is what a host does in the cloud.
type Role string

// The roles of hosts. Cluster is the head of a zone.
const (
	FrontEnd Role = "frontend"
	Cluster  Role = "cluster"
	Node     Role = "node"
)

// An Identity is who a host is: what its certificate states and what others
// expect of it. A front end has no zone.
type Identity struct {
	Role Role
	Name string
	Zone string
}

const (
	scheme  = "eucad://"
	maxName = 63 // as a DNS label and Linux' host name have; gossip's metadata is tight
)

// String returns the identity as eucad://role/zone/name, as it stands in
// certificates.
func (i Identity) String() string {
	return scheme + string(i.Role) + "/" + i.Zone + "/" + i.Name
}

// ParseIdentity is the reverse of String. It takes nothing that String would
// write differently.
func ParseIdentity(s string) (Identity, error) {
	rest, ok := strings.CutPrefix(s, scheme)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return Identity{}, fmt.Errorf("%q is not %srole/zone/name", clip(s), scheme)
	}
	i := Identity{Role: Role(parts[0]), Zone: parts[1], Name: parts[2]}
	return i, i.Check()
}

// Check says what is wrong with the identity.
func (i Identity) Check() error {
	switch i.Role {
	case FrontEnd:
		if i.Zone != "" {
			return fmt.Errorf("a front end has no zone, not %q", clip(i.Zone))
		}
	case Cluster, Node:
		if !validName(i.Zone) {
			return fmt.Errorf("%q is no name for a zone: use up to %d letters, digits, dots and dashes", clip(i.Zone), maxName)
		}
	default:
		return fmt.Errorf("a role is %s, %s or %s, not %q", FrontEnd, Cluster, Node, clip(string(i.Role)))
	}
	if !validName(i.Name) {
		return fmt.Errorf("%q is no name for a host: use up to %d letters, digits, dots and dashes", clip(i.Name), maxName)
	}
	return nil
}

// validName is strict, for names stand in URLs, paths and certificates. They
// begin and end with a letter or digit, so none is "..".
func validName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case (c == '-' || c == '.') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return true
}

// clip bounds what strangers make us print.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// MarshalText writes the identity as String does.
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (i *Identity) UnmarshalText(b []byte) (err error) {
	*i, err = ParseIdentity(string(b))
	return err
}
