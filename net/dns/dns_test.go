package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var zone = &Zone{
	Domain:  "az1.eucad.internal",
	CIDRs:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
	Forward: map[string]netip.Addr{"ip-10-0-1-10.az1.eucad.internal": netip.MustParseAddr("10.0.1.10")},
	Reverse: map[netip.Addr]string{netip.MustParseAddr("10.0.1.10"): "ip-10-0-1-10.az1.eucad.internal"},
}

// elsewhere is a resolver that knows one long answer, and fails for the rest.
func elsewhere(_ context.Context, query []byte) ([]byte, error) {
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil {
		return nil, err
	}
	if q.Question[0].Name != "many.example." {
		return nil, errors.New("nobody answers")
	}
	a := new(dns.Msg)
	a.SetReply(q)
	for i := range 200 {
		rr, err := dns.NewRR(fmt.Sprintf("many.example. 60 IN A 192.0.2.%d", i))
		if err != nil {
			return nil, err
		}
		a.Answer = append(a.Answer, rr)
	}
	return a.Pack()
}

// start serves zone on loopback, by UDP and TCP on one port.
func start(t testing.TB, r Resolver) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		l.Close()
		t.Skipf("the port is taken for UDP: %v", err)
	}
	s := Serve(r, []net.PacketConn{p}, []net.Listener{l})
	s.Set(zone)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func question(name string, kind uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	addr := start(t, elsewhere)
	for _, tt := range []struct {
		name   string
		kind   uint16
		code   int
		answer string // of the first record, "" for none
		soa    bool
	}{
		{"ip-10-0-1-10.az1.eucad.internal", dns.TypeA, dns.RcodeSuccess, "10.0.1.10", false},
		{"IP-10-0-1-10.AZ1.eucad.internal", dns.TypeA, dns.RcodeSuccess, "10.0.1.10", false},
		{"ip-10-0-1-10.az1.eucad.internal", dns.TypeAAAA, dns.RcodeSuccess, "", true},
		{"ip-10-0-1-11.az1.eucad.internal", dns.TypeA, dns.RcodeNameError, "", true},
		{"az1.eucad.internal", dns.TypeA, dns.RcodeSuccess, "", true},
		{"10.1.0.10.in-addr.arpa", dns.TypePTR, dns.RcodeSuccess, "ip-10-0-1-10.az1.eucad.internal.", false},
		{"10.1.0.10.in-addr.arpa", dns.TypeA, dns.RcodeSuccess, "", true},
		{"11.1.0.10.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, "", true},
		{"7.2.0.192.in-addr.arpa", dns.TypePTR, dns.RcodeServerFailure, "", false},
		{"gone.example", dns.TypeA, dns.RcodeServerFailure, "", false},
		{"az1.eucad.internal", dns.TypeAXFR, dns.RcodeRefused, "", false},
	} {
		a, err := dns.Exchange(question(tt.name, tt.kind), addr)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got := ""
		if len(a.Answer) > 0 {
			got = dns.Field(a.Answer[0], 1)
		}
		soa := len(a.Ns) == 1 && a.Ns[0].Header().Rrtype == dns.TypeSOA
		if a.Rcode != tt.code || got != tt.answer || soa != tt.soa {
			t.Errorf("%s %s: %s %q soa %v, want %s %q soa %v", tt.name, dns.TypeToString[tt.kind],
				dns.RcodeToString[a.Rcode], got, soa, dns.RcodeToString[tt.code], tt.answer, tt.soa)
		}
	}
}

// TestSizes sees that long answers are cut as their carrier demands.
func TestSizes(t *testing.T) {
	t.Parallel()
	addr := start(t, elsewhere)
	for _, tt := range []struct {
		name    string
		network string
		edns    uint16
		most    int
		cut     bool
	}{
		{"plain", "udp", 0, dns.MinMsgSize, true},
		{"small", "udp", 800, 800, true},
		{"greedy", "udp", 65535, maxUDP, true},
		{"stream", "tcp", 0, dns.MaxMsgSize, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := question("many.example", dns.TypeA)
			if tt.edns > 0 {
				q.SetEdns0(tt.edns, false)
			}
			c := dns.Client{Net: tt.network}
			a, _, err := c.Exchange(q, addr)
			if err != nil {
				t.Fatal(err)
			}
			a.Compress = true
			if a.Len() > tt.most || a.Truncated != tt.cut {
				t.Errorf("%d bytes, cut %v; want at most %d, cut %v", a.Len(), a.Truncated, tt.most, tt.cut)
			}
			if !tt.cut && len(a.Answer) != 200 {
				t.Errorf("%d records, want 200", len(a.Answer))
			}
		})
	}
}

// TestHostResolver asks by way of a resolv.conf that changes, with a server
// that is not there before one that is.
func TestHostResolver(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p, err := net.ListenPacket("udp", "127.0.0.1:"+port)
	if err != nil {
		l.Close()
		t.Skipf("the port is taken for UDP: %v", err)
	}
	s := Serve(elsewhere, []net.PacketConn{p}, []net.Listener{l})
	defer s.Close()

	h := &host{path: filepath.Join(t.TempDir(), "resolv.conf")}
	if _, err := h.resolve(t.Context(), nil); err == nil {
		t.Error("without a resolv.conf there is an answer")
	}
	if err := os.WriteFile(h.path, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := h.list(); err != nil || len(got) != 1 || got[0] != "127.0.0.1:53" {
		t.Errorf("servers = %v, %v", got, err)
	}
	if err := os.WriteFile(h.path, []byte("nameserver 192.0.2.1\nnameserver 127.0.0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(h.path, later, later); err != nil {
		t.Fatal(err)
	}
	if got, err := h.list(); err != nil || len(got) != 2 {
		t.Errorf("servers after a change = %v, %v", got, err)
	}

	h.servers = []string{"127.0.0.1:1", "127.0.0.1:" + port} // nothing is at port 1
	q, err := question("many.example", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := h.resolve(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	a := new(dns.Msg)
	if err := a.Unpack(raw); err != nil || len(a.Answer) != 200 {
		t.Errorf("answer has %d records, %v; want 200, by way of TCP", len(a.Answer), err)
	}
	if len(h.servers) != 2 {
		t.Error("the file was read again without a change")
	}
}

func FuzzAnswer(f *testing.F) {
	for _, q := range []*dns.Msg{
		question("ip-10-0-1-10.az1.eucad.internal", dns.TypeA),
		question("10.1.0.10.in-addr.arpa", dns.TypePTR),
		question("az1.eucad.internal", dns.TypeANY).SetEdns0(4096, true),
	} {
		b, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := &Server{}
	s.zone.Store(zone)
	f.Fuzz(func(t *testing.T, b []byte) {
		q := new(dns.Msg)
		if q.Unpack(b) != nil {
			return
		}
		a := s.answer(q)
		if a == nil {
			return
		}
		if a.Id != q.Id || !a.Response {
			t.Errorf("answer %d to question %d", a.Id, q.Id)
		}
		a.Truncate(maxUDP)
		if _, err := a.Pack(); err != nil {
			t.Errorf("answer: %v", err)
		}
	})
}
