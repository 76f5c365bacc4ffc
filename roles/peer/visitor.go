package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"time"
)

// A visitor is a connection to a Server, and what the handshake showed of who
// connects. One whose certificate is no good is let in as a stranger is, who
// has none: to end the handshake would keep out no more, and TLS could not say
// why. With net/http, often not even its alert arrives.
type visitor struct {
	net.Conn
	cert    *x509.Certificate // nil: none that counts
	id      Identity          // zero: nothing proves one
	refused error             // why it does not count
}

// look takes the certificate of whoever has proved to have its key.
func (v *visitor) look(cert, ca *x509.Certificate, deny *DenyList) {
	id, err := verify(cert, ca, time.Now(), x509.ExtKeyUsageClientAuth)
	switch e, ok := errors.AsType[x509.CertificateInvalidError](err); {
	case err == nil:
		v.id = id
		if v.refused = deny.checkCertificate(id, cert); v.refused == nil {
			v.cert = cert
		}
	case ok && e.Reason == x509.Expired:
		v.refused = Errorf(http.StatusUnauthorized, CertificateExpired, "the certificate that this host shows is not good at this time: %s", e.Detail)
	default:
		v.refused = Errorf(http.StatusForbidden, OtherCloud, "the certificate that this host shows is not one of this cloud's")
	}
}

type visitorKey struct{}

// greet puts the visitor into the context of a connection's requests.
func greet(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		ctx = context.WithValue(ctx, visitorKey{}, t.NetConn())
	}
	return ctx
}

// visitorOf returns who is behind a request: a stranger, if nothing is known.
func visitorOf(ctx context.Context) *visitor {
	if v, ok := ctx.Value(visitorKey{}).(*visitor); ok {
		return v
	}
	return &visitor{}
}

// A door makes visitors of connections.
type door struct{ net.Listener }

func (d door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &visitor{Conn: c}, nil
}
