package cloud

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// An id holds 68 bits. The upper 40 are the milliseconds since idEpoch (they
// last until 2058), the others random: ids that are made together lie together
// in the indexes of the store, where each of a launch's dozen rows would
// otherwise dirty pages of its own. Ids are no secrets.
const idRandomBits = 28

var (
	idEpoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	lastID  atomic.Uint64 // its upper 64 bits: each id of a process is higher than the one before
)

// NewID returns a new id as EC2's: the prefix, a dash, 17 hex digits.
func NewID(prefix string) string {
	var b [8]byte
	rand.Read(b[:])
	random := binary.BigEndian.Uint64(b[:])
	const bits = idRandomBits - 4 // the last digit is random, and not in lastID
	high := uint64(time.Since(idEpoch).Milliseconds())<<bits | random>>(64-bits)
	for {
		last := lastID.Load()
		next := high
		if next <= last { // the same millisecond, or the clock went back
			next = last + 1 + random>>(64-12)
		}
		if lastID.CompareAndSwap(last, next) {
			return fmt.Sprintf("%s-%016x%x", prefix, next, random&0xf)
		}
	}
}

// kinds tells, for each id prefix, how EC2 speaks of the resource.
var kinds = map[string]struct{ kind, code, noun string }{
	"i":          {"instance", "InvalidInstanceID", "instance ID"},
	"r":          {"reservation", "InvalidReservationID", "reservation ID"},
	"ami":        {"image", "InvalidAMIID", "image id"},
	"aki":        {"image", "InvalidAMIID", "image id"},
	"ari":        {"image", "InvalidAMIID", "image id"},
	"vol":        {"volume", "InvalidVolume", "volume"},
	"snap":       {"snapshot", "InvalidSnapshot", "snapshot"},
	"vpc":        {"vpc", "InvalidVpcID", "vpc ID"},
	"subnet":     {"subnet", "InvalidSubnetID", "subnet ID"},
	"eni":        {"network-interface", "InvalidNetworkInterfaceID", "networkInterface ID"},
	"sg":         {"security-group", "InvalidGroup", "security group"},
	"sgr":        {"security-group-rule", "InvalidSecurityGroupRuleId", "security group rule ID"},
	"key":        {"key-pair", "InvalidKeyPair", "key pair"},
	"eipalloc":   {"elastic-ip", "InvalidAllocationID", "allocation ID"},
	"eipassoc":   {"elastic-ip-association", "InvalidAssociationID", "association ID"},
	"rtb":        {"route-table", "InvalidRouteTableID", "routeTable ID"},
	"igw":        {"internet-gateway", "InvalidInternetGatewayID", "internetGateway ID"},
	"acl":        {"network-acl", "InvalidNetworkAclID", "networkAcl ID"},
	"dopt":       {"dhcp-options", "InvalidDhcpOptionID", "DhcpOptions ID"},
	"rtbassoc":   {"route-table-association", "InvalidAssociationID", "association ID"},
	"aclassoc":   {"network-acl-association", "InvalidAssociationID", "association ID"},
	"eni-attach": {"attachment", "InvalidAttachmentID", "attachment ID"},
}

// prefixOf returns what stands before the last dash of id.
func prefixOf(id string) string {
	if i := strings.LastIndexByte(id, '-'); i >= 0 {
		return id[:i]
	}
	return ""
}

// ResourceType returns EC2's name for the type of the resource id, as
// DescribeTags gives it ("instance", "security-group"), or "".
func ResourceType(id string) string { return kinds[prefixOf(id)].kind }

// CheckID returns a Fault when id is not of the form prefix-hex.
func CheckID(prefix, id string) error {
	hex, ok := strings.CutPrefix(id, prefix+"-")
	if ok && (len(hex) == 8 || len(hex) == 17) && strings.Trim(hex, "0123456789abcdef") == "" {
		return nil
	}
	k := kinds[prefix]
	code := k.code + ".Malformed"
	switch prefix {
	case "sg":
		code = "InvalidGroupId.Malformed"
	case "vol", "snap":
		code = "InvalidParameterValue"
	}
	return Faultf(code, "Invalid id: %q (expecting \"%s-...\")", id, prefix)
}

// NotFound returns the Fault of a resource that does not exist, or that the
// caller may not know of.
func NotFound(id string) error {
	k, ok := kinds[prefixOf(id)]
	switch {
	case !ok:
		return Faultf("InvalidID", "The ID '%s' is not valid", id)
	case k.kind == "image":
		return Faultf("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	}
	return Faultf(k.code+".NotFound", "The %s '%s' does not exist", k.noun, id)
}
