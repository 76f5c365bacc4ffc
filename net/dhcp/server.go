package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"eucad/net/link"
)

// maxMessage bounds a message of a guest: the largest that fits an unfragmented
// packet on Ethernet.
const maxMessage = 1500 - 28

// A Server answers in one namespace, for devices that have a Lease. It has one
// packet socket for all devices: the packets of a guest without an address
// don't reach other sockets, and an answer goes to the one guest alone.
type Server struct {
	f    *os.File
	done chan struct{}

	mu     sync.RWMutex
	leases map[uint32]Lease // by index of the device
}

// Serve begins to answer in ns, until Close.
func Serve(ns *link.NS) (*Server, error) {
	s := &Server{done: make(chan struct{}), leases: map[uint32]Lease{}}
	err := ns.Do(func() (err error) {
		s.f, err = listen()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("DHCP socket: %w", err)
	}
	go s.run()
	return s, nil
}

// Close stops answering.
func (s *Server) Close() error {
	err := s.f.Close()
	<-s.done
	return err
}

// Set replaces all leases.
func (s *Server) Set(leases map[uint32]Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases = leases
}

// Put sets the lease of one device.
func (s *Server) Put(device uint32, l Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[device] = l
}

// Remove ends the answers on one device.
func (s *Server) Remove(device uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, device)
}

// listen opens a packet socket that gets whole IPv4 packets to UDP port 67.
func listen() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	prog, err := bpf.Assemble(questions)
	if err == nil {
		raw := make([]unix.SockFilter, len(prog))
		for i, p := range prog {
			raw[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
		}
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]})
	}
	if err == nil { // only now is it bound: nothing comes in that the filter has not seen
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP)})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "dhcp"), nil
}

func htons(n uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n)) }

const (
	etherLen = 14
	udpLen   = 8
)

// questions lets unfragmented IPv4 packets to UDP port 67 pass.
var questions = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 8},
	bpf.LoadAbsolute{Off: etherLen + 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: etherLen + 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: etherLen},
	bpf.LoadIndirect{Off: etherLen + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 67, SkipTrue: 1},
	bpf.RetConstant{Val: 2048},
	bpf.RetConstant{Val: 0},
}

func (s *Server) run() {
	defer close(s.done)
	raw, err := s.f.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 2048)
	for {
		var n int
		var from unix.Sockaddr
		var got error
		err := raw.Read(func(fd uintptr) bool {
			n, from, got = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(got, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if got != nil || !ok || ll.Pkttype == unix.PACKET_OUTGOING {
			continue // such as ENETDOWN of a tap that goes: the socket lives on
		}
		s.mu.RLock()
		lease, ok := s.leases[uint32(ll.Ifindex)]
		s.mu.RUnlock()
		if !ok {
			continue
		}
		frame := lease.answerFrame(buf[:n])
		if frame == nil {
			continue
		}
		to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: ll.Ifindex, Halen: 6}
		copy(to.Addr[:], lease.MAC)
		// A guest that gets no answer asks again.
		_ = raw.Write(func(fd uintptr) bool {
			return !errors.Is(unix.Sendto(int(fd), frame, 0, to), unix.EAGAIN)
		})
	}
}

// answerFrame returns the frame that answers a guest's frame, or nil.
func (l Lease) answerFrame(frame []byte) []byte {
	if len(frame) < etherLen+20 || net.HardwareAddr(frame[6:12]).String() != l.MAC.String() {
		return nil
	}
	ip := frame[etherLen:]
	head, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || head < 20 || total > len(ip) || head+udpLen > total {
		return nil
	}
	udp := ip[head:total]
	size := int(binary.BigEndian.Uint16(udp[4:]))
	if size < udpLen || size > len(udp) {
		return nil
	}
	answer := l.Answer(udp[udpLen:size])
	if answer == nil {
		return nil
	}
	// To the guest's MAC; to the address that it has yet to take, unless it is
	// told that it must not have it, or has no address and says that it can't
	// take packets to one (RFC 2131, section 4.1).
	dst := l.Addr.Addr().As4()
	if isNak(answer) || wantsBroadcast(answer) {
		dst = [4]byte{255, 255, 255, 255}
	}
	return l.frame(frame[:6], dst, answer)
}

// isNak reports whether an answer of ours gives no address.
func isNak(answer []byte) bool {
	return binary.BigEndian.Uint32(answer[16:]) == 0 && binary.BigEndian.Uint32(answer[12:]) == 0
}

// wantsBroadcast reports whether the question that answer repeats the flags and
// the guest's address of asked for a broadcast.
func wantsBroadcast(answer []byte) bool {
	return answer[10]&0x80 != 0 && binary.BigEndian.Uint32(answer[12:]) == 0
}

// frame puts an answer into UDP, IPv4 and Ethernet.
func (l Lease) frame(self []byte, dst [4]byte, answer []byte) []byte {
	b := make([]byte, 0, etherLen+20+udpLen+len(answer))
	b = append(b, l.MAC...)
	if self[0]&1 != 0 { // the question went to all
		self = l.gatewayMAC()
	}
	b = append(b, self...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	src := l.Router.As4()
	b = append(b, 0x45, 0x10)
	b = binary.BigEndian.AppendUint16(b, uint16(20+udpLen+len(answer)))
	b = append(b, 0, 0, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0)
	b = append(append(b, src[:]...), dst[:]...)
	ip := b[etherLen:]
	binary.BigEndian.PutUint16(ip[10:], checksum(0, ip[:20]))
	b = append(b, 0, 67, 0, 68)
	b = binary.BigEndian.AppendUint16(b, uint16(udpLen+len(answer)))
	b = append(b, 0, 0)
	b = append(b, answer...)
	udp := b[etherLen+20:]
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(len(udp))
	for _, a := range [][4]byte{src, dst} {
		pseudo += uint32(a[0])<<8 + uint32(a[1]) + uint32(a[2])<<8 + uint32(a[3])
	}
	sum := checksum(pseudo, udp)
	if sum == 0 {
		sum = 0xffff // RFC 768
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return b
}

// gatewayMAC is a source for answers to broadcasts: locally administered, and
// the same for a router address wherever it is.
func (l Lease) gatewayMAC() []byte {
	a := l.Router.As4()
	return append([]byte{0x02, 0xec}, a[:]...)
}

// checksum is that of RFC 1071.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
