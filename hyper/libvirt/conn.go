package libvirt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

const (
	// maxConns bounds the connections used for calls. libvirtd runs at most
	// 20 calls at once by default (max_workers), and others use it too.
	maxConns = 8

	callTime   = 30 * time.Second // for calls that only look or signal
	createTime = 2 * time.Minute  // the first start probes QEMU, up to a minute on some hosts
	dialTime   = 5 * time.Second  // how long a call waits for a libvirtd that is not there
	pingPeriod = 20 * time.Second // between two signs of life on the events' connection

	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// A client calls libvirtd. Each call has a connection for itself, for a slow
// answer stalls all others on one connection (go-libvirt hands answers over
// under a lock), and a call whose time is up drops its connection, for
// go-libvirt can't cancel one.
type client struct {
	sockets []string // tried in order
	uri     string
	log     *slog.Logger
	slots   chan struct{}
	idle    chan *conn
	down    atomic.Bool // so that an outage is logged once
}

func newClient(sockets []string, uri string, log *slog.Logger) *client {
	return &client{
		sockets: sockets, uri: uri, log: log,
		slots: make(chan struct{}, maxConns),
		idle:  make(chan *conn, maxConns),
	}
}

// A conn is one connection. It is never opened again after it was lost:
// go-libvirt's old and new goroutines would race (its issue 167).
type conn struct {
	net.Conn
	lv   *golibvirt.Libvirt
	gone chan struct{} // closed when reading failed
	once sync.Once
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.once.Do(func() { close(c.gone) })
	}
	return n, err
}

func (c *conn) lost() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// do runs f and, when ctx ends first, closes the connection, which ends f.
func (c *conn) do(ctx context.Context, f func(*golibvirt.Libvirt) error) error {
	done := make(chan error, 1)
	go func() { done <- f(c.lv) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		c.Conn.Close()
		<-done
		return context.Cause(ctx)
	}
}

// call runs f, which makes libvirt calls, for at most limit.
func (c *client) call(ctx context.Context, limit time.Duration, f func(*golibvirt.Libvirt) error) error {
	cause := fmt.Errorf("libvirtd did not answer within %s: %w", limit, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, cause)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	cn, err := c.get(ctx)
	if err != nil {
		return err
	}
	err = cn.do(ctx, f)
	if err != nil && !isAnswer(err) {
		cn.Conn.Close()
		return err
	}
	c.idle <- cn // there are never more than slots
	return err
}

// get returns an idle connection or a new one. When libvirtd is not there it
// waits for it a little.
func (c *client) get(ctx context.Context) (*conn, error) {
	for {
		select {
		case cn := <-c.idle:
			if !cn.lost() {
				return cn, nil
			}
			cn.Conn.Close()
			continue
		default:
		}
		break
	}
	end := time.Now().Add(dialTime)
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		cn, err := c.dial(ctx)
		if err == nil || isAnswer(err) || time.Now().Add(wait).After(end) {
			return cn, err
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// dial opens a connection to the first socket that takes one.
func (c *client) dial(ctx context.Context) (*conn, error) {
	cn, err := c.dialOnce(ctx)
	if err == nil {
		if c.down.Swap(false) {
			c.log.Info("libvirtd is back")
		}
	} else if ctx.Err() == nil && !c.down.Swap(true) {
		c.log.Error("libvirtd can't be reached; waiting for it", "err", err)
	}
	return cn, err
}

func (c *client) dialOnce(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var nc net.Conn
	var err error
	for _, path := range c.sockets {
		var d net.Dialer
		if nc, err = d.DialContext(ctx, "unix", path); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("no libvirtd on %s (start it by \"systemctl start libvirtd\", or by \"virtlogd -d; libvirtd -d\"): %w",
			strings.Join(c.sockets, " or "), err)
	}
	cn := &conn{Conn: nc, gone: make(chan struct{})}
	cn.lv = golibvirt.NewWithDialer(dialers.NewAlreadyConnected(cn))
	opened := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
		defer cancel()
		opened <- cn.do(ctx, func(l *golibvirt.Libvirt) error { return l.ConnectToURI(golibvirt.ConnectURI(c.uri)) })
	}()
	select {
	case err = <-opened:
	case <-ctx.Done():
		// It is closed once it is open: in between go-libvirt's reader would
		// race with what ConnectToURI does last.
		go func() {
			<-opened
			nc.Close()
		}()
		return nil, context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open %s at libvirtd: %w", c.uri, err)
	}
	return cn, nil
}

// close closes the idle connections.
func (c *client) close() {
	for {
		select {
		case cn := <-c.idle:
			cn.Conn.Close()
		default:
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isCode says whether libvirt answered with the error number n.
func isCode(err error, n golibvirt.ErrorNumber) bool {
	var e golibvirt.Error
	return errors.As(err, &e) && e.Code == uint32(n)
}

// isAnswer says whether err is libvirt's own answer, not a failure to reach it.
func isAnswer(err error) bool {
	var e golibvirt.Error
	return errors.As(err, &e)
}
