package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// resolvConf is where a host says which resolvers it asks (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// tryTime is for one resolver; then the next one is asked.
const tryTime = 2 * time.Second

// HostResolver returns a Resolver that asks those of the host, which are read
// again when the file changes.
func HostResolver() Resolver { return (&host{path: resolvConf}).resolve }

type host struct {
	path string

	mu      sync.Mutex
	read    time.Time // modification of the file that servers come from
	servers []string
}

func (h *host) list() ([]string, error) {
	st, err := os.Stat(h.path)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if st.ModTime().Equal(h.read) {
		return h.servers, nil
	}
	c, err := dns.ClientConfigFromFile(h.path)
	if err != nil {
		return nil, err
	}
	h.servers, h.read = nil, st.ModTime()
	for _, s := range c.Servers {
		h.servers = append(h.servers, net.JoinHostPort(s, c.Port))
	}
	return h.servers, nil
}

func (h *host) resolve(ctx context.Context, query []byte) ([]byte, error) {
	servers, err := h.list()
	if err != nil {
		return nil, fmt.Errorf("the host's resolvers: %w", err)
	}
	errs := []error{errors.New("no resolver of the host answers")}
	for _, s := range servers {
		answer, err := ask(ctx, s, query)
		if err == nil {
			return answer, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// ask asks one server, again over TCP when its answer was cut.
func ask(ctx context.Context, server string, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	answer, err := exchange(ctx, "udp", server, query)
	if err == nil && len(answer) > 2 && answer[2]&2 != 0 { // TC, RFC 1035, section 4.1.1
		return exchange(ctx, "tcp", server, query)
	}
	return answer, err
}

func exchange(ctx context.Context, network, server string, query []byte) ([]byte, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: c, UDPSize: dns.DefaultMsgSize}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= 12 && buf[0] == query[0] && buf[1] == query[1] { // else it answers somebody else's question
			return buf[:n], nil
		}
	}
}

// limit bounds the connections of a listener.
func limit(l net.Listener) net.Listener {
	return &limited{l, make(chan struct{}, maxTCP)}
}

type limited struct {
	net.Listener
	open chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.open <- struct{}{}:
			return &counted{Conn: c, l: l}, nil
		default:
			c.Close()
		}
	}
}

type counted struct {
	net.Conn
	l    *limited
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { <-c.l.open })
	return c.Conn.Close()
}
