package peer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"eucad/store/file"
)

// JoinOptions say how a host joins a cloud.
type JoinOptions struct {
	Token   string
	Address string // host:port of a front end, or for a node of its zone's head
	Name    string // of this host
	Role    Role   // it plays; "" is the token's
	Zone    string // it is in; "" is the token's
	Dir     string // where to keep key and credentials
	Version string // of eucad

	// Dial makes connections; nil is the network's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Join makes this host one of the cloud, and keeps in o.Dir what it needs to
// be one after each start. The key stays the same however often a host joins.
// An *Error is a refusal; with any other error it may try again.
func Join(ctx context.Context, o JoinOptions) (*Credentials, error) {
	t, err := ParseToken(o.Token)
	if err != nil {
		return nil, err
	}
	if o.Role != "" && o.Role != t.Role {
		return nil, Errorf(http.StatusForbidden, WrongRole, "the token is for a %s, and this host is to be a %s", t.Role, o.Role)
	}
	if o.Zone != "" && o.Zone != t.Zone {
		return nil, Errorf(http.StatusForbidden, WrongZone, "the token is for zone %q, and this host is in %q", t.Zone, o.Zone)
	}
	id := Identity{t.Role, o.Name, t.Zone}
	if err := id.Check(); err != nil {
		return nil, Errorf(http.StatusBadRequest, BadRequest, "%s", err)
	}
	key, err := openKey(filepath.Join(o.Dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	csr, err := newCSR(key)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	k := kept{Address: o.Address, Token: t.ID}
	var ca []byte
	// The handshake ends before the request, and with it the secret, is sent.
	config := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // in favour of:
		VerifyConnection: func(s tls.ConnectionState) (err error) {
			k.Server, ca, err = t.checkServer(s.PeerCertificates, o.Address)
			return err
		},
	}
	c := newClient(ClientOptions{Address: o.Address, Version: o.Version, Dial: o.Dial}, config)
	defer c.Close()
	in := joinRequest{Token: t.ID, Secret: t.Secret[:], Host: id, CSR: csr}
	if err := c.Call(ctx, http.MethodPost, joinPath, in, &k.Issued); err != nil {
		return nil, err
	}
	if !bytes.Equal(k.CA, ca) {
		return nil, Errorf(http.StatusForbidden, OtherCloud, "%s answered with another CA than it has itself", k.Server)
	}
	cr, err := newCredentials(o.Dir, key, k)
	if err != nil {
		return nil, fmt.Errorf("answer of %s: %w", k.Server, err)
	}
	if cr.id != id {
		return nil, fmt.Errorf("answer of %s: the certificate is for %s", k.Server, cr.id)
	}
	b, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	if err := file.Write(filepath.Join(o.Dir, credentialsFile), b); err != nil {
		return nil, fmt.Errorf("keep credentials: %w", err)
	}
	return cr, nil
}

// checkServer says whether the secret may go to whoever shows these
// certificates: a front end of the token's cloud, or the head of the zone
// for one of its nodes.
func (t Token) checkServer(certs []*x509.Certificate, address string) (server Identity, ca []byte, err error) {
	root := certs[len(certs)-1]
	if sha256.Sum256(root.Raw) != t.CA {
		return server, nil, Errorf(http.StatusForbidden, OtherCloud, "the token is for another cloud than that of %s", address)
	}
	server, err = verify(certs[0], root, time.Now(), x509.ExtKeyUsageServerAuth)
	if err != nil {
		return server, nil, Errorf(http.StatusForbidden, OtherCloud, "%s has no good certificate of its cloud: %s", address, err)
	}
	if server.Role == FrontEnd || server.Role == Cluster && t.Role == Node && server.Zone == t.Zone {
		return server, root.Raw, nil
	}
	return server, nil, Errorf(http.StatusForbidden, WrongHost, "at %s is %s, which takes no %s of zone %q: give the address of a front end", address, server, t.Role, t.Zone)
}
