package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"eucad/store/file"
)

const credentialsFile = "host.json"

// Credentials are what a host is known by: its key, its certificate, and what
// the front end told it. All methods may run at once, and what TLS
// configurations hand out is always the newest.
type Credentials struct {
	dir string // "" keeps nothing
	key *ecdsa.PrivateKey
	ca  *x509.Certificate
	id  Identity

	deny *DenyList // who is not talked to any more; see Deny
	told bool      // by welcomes, who that is

	mu   sync.Mutex
	kept kept
	cert *tls.Certificate // replaced, never changed
}

// kept is the file.
type kept struct {
	Issued
	Server  Identity `json:"server"`  // who answered when the host joined
	Address string   `json:"address"` // and where
	Token   string   `json:"token"`   // id of the token that it brought; "" is not known
}

// LoadCredentials returns those that Join kept in dir. The error is
// fs.ErrNotExist when the host has not joined. They may have expired: Run
// renews them.
func LoadCredentials(dir string) (*Credentials, error) {
	b, err := os.ReadFile(filepath.Join(dir, credentialsFile))
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("read credentials in %s: %w", dir, err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	key, _, err := decodeKey(pem)
	if err != nil {
		return nil, fmt.Errorf("read credentials in %s: %w", dir, err)
	}
	c, err := newCredentials(dir, key, k)
	if err != nil {
		return nil, fmt.Errorf("read credentials in %s: %w", dir, err)
	}
	return c, nil
}

func newCredentials(dir string, key *ecdsa.PrivateKey, k kept) (*Credentials, error) {
	ca, err := x509.ParseCertificate(k.CA)
	if err != nil {
		return nil, fmt.Errorf("certificate of the CA: %w", err)
	}
	c := &Credentials{dir: dir, key: key, ca: ca, deny: &DenyList{}, told: true}
	cert, id, err := c.check(k.Issued)
	if err != nil {
		return nil, err
	}
	c.id, c.kept, c.cert = id, k, cert
	c.deny.Set(k.Welcome.Denied)
	return c, nil
}

// selfCredentials are a front end's own. It can make them anew whenever it
// starts, so they are not kept.
func selfCredentials(ctx context.Context, a *Authority, id Identity) (*Credentials, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := newCSR(key)
	if err != nil {
		return nil, err
	}
	is, err := a.issue(ctx, csr, id)
	if err != nil {
		return nil, err
	}
	c, err := newCredentials("", key, kept{Issued: is, Server: id})
	if err == nil {
		c.deny, c.told = a.Deny, false
	}
	return c, err
}

// check returns the certificate for use when it is for our key and by our CA.
// Its time is not looked at.
func (c *Credentials) check(is Issued) (*tls.Certificate, Identity, error) {
	leaf, err := x509.ParseCertificate(is.Certificate)
	if err != nil {
		return nil, Identity{}, fmt.Errorf("certificate: %w", err)
	}
	id, err := verify(leaf, c.ca, leaf.NotBefore, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, Identity{}, fmt.Errorf("certificate: %w", err)
	}
	if !c.key.PublicKey.Equal(leaf.PublicKey) {
		return nil, Identity{}, errors.New("certificate: it is for another key")
	}
	return &tls.Certificate{
		// With the CA's: who joins has nothing but its fingerprint.
		Certificate: [][]byte{leaf.Raw, c.ca.Raw},
		PrivateKey:  c.key,
		Leaf:        leaf,
	}, id, nil
}

// Identity returns who this host is.
func (c *Credentials) Identity() Identity { return c.id }

// Welcome returns what the front end last told this host.
func (c *Credentials) Welcome() Welcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept.Welcome
}

// SetWelcome keeps news that came in another way than by renewal, such as new
// keys for gossip.
func (c *Credentials) SetWelcome(w Welcome) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kept
	k.Welcome = w
	return c.keep(k)
}

// Token returns the id of the token by which this host joined, if it is known.
func (c *Credentials) Token() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept.Token
}

// SetAddress keeps where the host of Server answers now.
func (c *Credentials) SetAddress(address string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kept
	if k.Address == address {
		return nil
	}
	k.Address = address
	return c.keep(k)
}

// Server returns who answered when this host joined, and where: the one to
// call first after a start.
func (c *Credentials) Server() (id Identity, address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept.Server, c.kept.Address
}

// Certificate returns the newest certificate.
func (c *Credentials) Certificate() *x509.Certificate { return c.current().Leaf }

func (c *Credentials) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cert
}

// keep writes k to the disk, and then uses it. c.mu is held.
func (c *Credentials) keep(k kept) error {
	if c.dir != "" {
		b, err := json.Marshal(k)
		if err != nil {
			return err
		}
		if err := file.Write(filepath.Join(c.dir, credentialsFile), b); err != nil {
			return fmt.Errorf("keep credentials: %w", err)
		}
	}
	c.kept = k
	if c.told {
		c.deny.Set(k.Welcome.Denied)
	}
	return nil
}

// update takes a renewed certificate.
func (c *Credentials) update(is Issued) error {
	cert, id, err := c.check(is)
	if err != nil {
		return err
	}
	if id != c.id {
		return fmt.Errorf("the certificate is for %s", id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kept
	k.Certificate, k.Welcome = is.Certificate, is.Welcome
	if err := c.keep(k); err != nil {
		return err
	}
	c.cert = cert
	return nil
}

// serverTLS asks who connects for a certificate. Whether it is any good, the
// visitor's look decides.
func (c *Credentials) serverTLS() *tls.Config {
	base := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(), nil },
		ClientAuth:     tls.RequestClientCert,
		// A resumed session would bring the certificate it began with.
		SessionTicketsDisabled: true,
	}
	outer := base.Clone()
	outer.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		config := base.Clone()
		config.VerifyConnection = func(s tls.ConnectionState) error {
			if v, ok := h.Conn.(*visitor); ok && len(s.PeerCertificates) > 0 {
				v.look(s.PeerCertificates[0], c.ca, c.deny)
			}
			return nil
		}
		return config, nil
	}
	return outer
}

// clientTLS calls one host, known by its certificate and not by its address.
func (c *Credentials) clientTLS(want Identity) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert := c.current()
			if time.Now().After(cert.Leaf.NotAfter) {
				// As a stranger it may still renew; with an expired
				// certificate it would get no connection.
				return &tls.Certificate{}, nil
			}
			return cert, nil
		},
		InsecureSkipVerify: true, // in favour of:
		VerifyConnection: func(s tls.ConnectionState) error {
			id, err := verify(s.PeerCertificates[0], c.ca, time.Now(), x509.ExtKeyUsageServerAuth)
			if err != nil {
				return Errorf(http.StatusForbidden, OtherCloud, "the host that answers for %s has no certificate of this cloud: %s", want, err)
			}
			if id != want {
				return Errorf(http.StatusForbidden, WrongHost, "%s answers where %s should", id, want)
			}
			return c.deny.checkCertificate(id, s.PeerCertificates[0])
		},
	}
}
