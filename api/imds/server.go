package imds

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// NewServer returns a server for h, a Handler, with limits that suit guests who
// may be anybody's. Give it a listener and call Serve.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10, // a token and what clients say of themselves
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
}

type connKey struct{}

// withConn keeps the connection at hand, for the hop limit of its answers.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// setHops sets how many hops the next answer on the request's connection may
// travel; 0 is as many as usual. Without the connection (a handler that isn't
// served by NewServer) nothing is limited.
func setHops(ctx context.Context, hops int) {
	c, ok := ctx.Value(connKey{}).(syscall.Conn)
	if !ok || hops < 0 || hops > 255 {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	if hops == 0 {
		hops = -1 // Linux: back to the system's default
	}
	raw.Control(func(fd uintptr) {
		// One of the two fits the socket; the other's error says nothing.
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TTL, hops)
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS, hops)
	})
}
