package dhcp

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var guest = Lease{
	MAC:      net.HardwareAddr{2, 0, 0, 0, 0, 10},
	Addr:     netip.MustParsePrefix("10.0.1.10/24"),
	Router:   netip.MustParseAddr("10.0.1.1"),
	DNS:      []netip.Addr{netip.MustParseAddr("10.0.0.2")},
	MTU:      1450,
	Hostname: "ip-10-0-1-10.az1.eucad.internal",
	Domain:   "az1.eucad.internal",
}

// query makes the message of a guest.
func query(t testing.TB, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) []byte {
	t.Helper()
	q, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(guest.MAC), dhcpv4.WithMessageType(kind)}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return q.ToBytes()
}

func requested(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	server := func(a string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a))) }
	for _, tt := range []struct {
		name string
		in   []byte
		want dhcpv4.MessageType // None for no answer
		addr string
	}{
		{"discover", query(t, dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer, "10.0.1.10"},
		{"discover with a wish", query(t, dhcpv4.MessageTypeDiscover, requested("10.0.1.99")), dhcpv4.MessageTypeOffer, "10.0.1.10"},
		{"request", query(t, dhcpv4.MessageTypeRequest, requested("10.0.1.10"), server("10.0.1.1")), dhcpv4.MessageTypeAck, "10.0.1.10"},
		{"reboot", query(t, dhcpv4.MessageTypeRequest, requested("10.0.1.10")), dhcpv4.MessageTypeAck, "10.0.1.10"},
		{"renew", query(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IP{10, 0, 1, 10})), dhcpv4.MessageTypeAck, "10.0.1.10"},
		{"wrong address", query(t, dhcpv4.MessageTypeRequest, requested("10.0.1.99")), dhcpv4.MessageTypeNak, "0.0.0.0"},
		{"no address", query(t, dhcpv4.MessageTypeRequest), dhcpv4.MessageTypeNak, "0.0.0.0"},
		{"another server's", query(t, dhcpv4.MessageTypeRequest, requested("10.0.1.10"), server("10.0.1.250")), dhcpv4.MessageTypeNone, ""},
		{"inform", query(t, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.IP{10, 0, 1, 10})), dhcpv4.MessageTypeAck, "0.0.0.0"},
		{"release", query(t, dhcpv4.MessageTypeRelease, dhcpv4.WithClientIP(net.IP{10, 0, 1, 10})), dhcpv4.MessageTypeNone, ""},
		{"decline", query(t, dhcpv4.MessageTypeDecline, requested("10.0.1.10")), dhcpv4.MessageTypeNone, ""},
		{"an offer", query(t, dhcpv4.MessageTypeOffer), dhcpv4.MessageTypeNone, ""},
		{"another guest's", query(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 11})), dhcpv4.MessageTypeNone, ""},
		{"too long", make([]byte, maxMessage+1), dhcpv4.MessageTypeNone, ""},
		{"nothing", nil, dhcpv4.MessageTypeNone, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := guest.Answer(tt.in)
			if b == nil {
				if tt.want != dhcpv4.MessageTypeNone {
					t.Fatalf("no answer, want %s", tt.want)
				}
				return
			}
			a, err := dhcpv4.FromBytes(b)
			if err != nil {
				t.Fatal(err)
			}
			if a.MessageType() != tt.want || a.YourIPAddr.String() != tt.addr {
				t.Errorf("answer = %s of %s, want %s of %s", a.MessageType(), a.YourIPAddr, tt.want, tt.addr)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	a, err := dhcpv4.FromBytes(guest.Answer(query(t, dhcpv4.MessageTypeDiscover)))
	if err != nil {
		t.Fatal(err)
	}
	mtu, _ := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, a.Options)
	got := map[string]any{
		"mask": a.SubnetMask().String(), "router": a.Router()[0].String(), "dns": a.DNS()[0].String(), "mtu": int(mtu),
		"host": a.HostName(), "domain": a.DomainName(), "server": a.ServerIdentifier().String(), "lease": a.IPAddressLeaseTime(0),
		"routes": routeText(a.ClasslessStaticRoute()), "microsoft": a.Options.Get(microsoftRoutes),
	}
	want := map[string]any{
		"mask": "ffffff00", "router": "10.0.1.1", "dns": "10.0.0.2", "mtu": 1450,
		"host": "ip-10-0-1-10", "domain": "az1.eucad.internal", "server": "10.0.1.1", "lease": leaseTime,
		"routes":    "route to 169.254.169.254/32 via 10.0.1.1, route to 0.0.0.0/0 via 10.0.1.1",
		"microsoft": []byte{32, 169, 254, 169, 254, 10, 0, 1, 1, 0, 10, 0, 1, 1},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("options (-want +got):\n" + d)
	}
}

func routeText(all dhcpv4.Routes) string {
	var s string
	for i, r := range all {
		if i > 0 {
			s += ", "
		}
		s += "route to " + r.Dest.String() + " via " + r.Router.String()
	}
	return s
}

// frameOf wraps a query as a guest's kernel would.
func frameOf(q []byte) []byte {
	l := guest
	l.Router = netip.IPv4Unspecified()
	f := l.frame([]byte{2, 0, 0, 0, 0, 10}, [4]byte{255, 255, 255, 255}, q)
	f[etherLen+20], f[etherLen+21], f[etherLen+22], f[etherLen+23] = 0, 68, 0, 67
	return f
}

func TestFrame(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   []byte
		want string // IP destination
	}{
		{"unicast", query(t, dhcpv4.MessageTypeDiscover), "10.0.1.10"},
		{"broadcast", query(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithBroadcast(true)), "255.255.255.255"},
		{"renew", query(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IP{10, 0, 1, 10}), dhcpv4.WithBroadcast(true)), "10.0.1.10"},
		{"refused", query(t, dhcpv4.MessageTypeRequest, requested("10.0.1.99")), "255.255.255.255"},
	} {
		f := guest.answerFrame(frameOf(tt.in))
		if len(f) < etherLen+20+udpLen {
			t.Fatalf("%s: answer of %d bytes", tt.name, len(f))
		}
		if got := net.HardwareAddr(f[:6]).String(); got != guest.MAC.String() {
			t.Errorf("%s: to %s, want %s", tt.name, got, guest.MAC)
		}
		ip := f[etherLen:]
		if got := net.IP(ip[16:20]).String(); got != tt.want {
			t.Errorf("%s: to %s, want %s", tt.name, got, tt.want)
		}
		if checksum(0, ip[:20]) != 0 {
			t.Errorf("%s: wrong checksum in the IP header", tt.name)
		}
		pseudo := append(append([]byte{}, ip[12:20]...), 0, 17, ip[24], ip[25])
		if got := checksum(0, append(pseudo, ip[20:]...)); got != 0 {
			t.Errorf("%s: wrong UDP checksum", tt.name)
		}
	}
}

func FuzzAnswerFrame(f *testing.F) {
	f.Add(frameOf(query(f, dhcpv4.MessageTypeDiscover)))
	f.Add(frameOf(query(f, dhcpv4.MessageTypeRequest, requested("10.0.1.10"))))
	f.Add(frameOf(query(f, dhcpv4.MessageTypeInform)))
	f.Fuzz(func(t *testing.T, frame []byte) {
		a := guest.answerFrame(frame)
		if a == nil {
			return
		}
		if got := net.HardwareAddr(a[:6]).String(); got != guest.MAC.String() {
			t.Errorf("answer to %s", got)
		}
		if _, err := dhcpv4.FromBytes(a[etherLen+20+udpLen:]); err != nil {
			t.Errorf("answer: %v", err)
		}
	})
}
