package nft

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables"
)

// text returns an element in the manner of nft list.
func (s *Set) text(e Element) string {
	var parts []string
	key, end := e.Key, e.End
	for _, t := range nftables.ConcatSetTypeElements(s.Key) {
		n := int(t.Bytes+3) &^ 3
		n = min(n, len(key)) // a key of one field is not padded
		last := key[:n]
		if s.Ranges && len(end) >= n {
			last, end = end[:n], end[n:]
		}
		parts = append(parts, fieldText(t.Name, key[:n], last))
		key = key[n:]
	}
	out := strings.Join(parts, " . ")
	switch {
	case s.Data == nil:
	case s.Data.Name == nftables.TypeVerdict.Name:
		out += " : goto " + e.Data
	default:
		out += " : " + fieldText(s.Data.Name, e.Data, e.Data)
	}
	return out
}

func fieldText(kind, from, to string) string {
	one := func(b string) string {
		switch kind {
		case "ipv4_addr":
			return netip.AddrFrom4([4]byte([]byte(b))).String()
		case "ether_addr":
			return net.HardwareAddr(b[:6]).String()
		case "ifname":
			return fmt.Sprintf("%q", strings.TrimRight(b, "\x00"))
		case "inet_proto":
			return fmt.Sprint(b[0])
		case "inet_service":
			return fmt.Sprint(binary.BigEndian.Uint16([]byte(b)))
		case "mark":
			return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32([]byte(b)))
		}
		return fmt.Sprintf("%x", b)
	}
	if from == to {
		return one(from)
	}
	if kind == "ipv4_addr" {
		size := binary.BigEndian.Uint32([]byte(to)) - binary.BigEndian.Uint32([]byte(from))
		return fmt.Sprintf("%s/%d", one(from), 32-bits.Len32(size))
	}
	return one(from) + "-" + one(to)
}
