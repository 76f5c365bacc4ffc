package admin

import (
	"context"
	"net/http"
	"time"

	"eucad/store"
	"eucad/store/cloud"
)

// Hosts is how the cloud takes in other hosts.
type Hosts interface {
	// CreateToken returns a token by which one host may join. A host called name
	// that was removed is welcome again.
	CreateToken(ctx context.Context, role, zone, name string, life time.Duration) (string, error)

	// Members returns the hosts that seem to be there, this one too, as far as
	// the front end's gossip reaches: front ends, heads, and nodes of its own zone.
	Members() []Member

	// RemoveHost lets the host of that name, which has nothing on it any more,
	// out of the cloud: it is not welcome again without a new token.
	RemoveHost(ctx context.Context, name string) error

	// RevokeToken takes a token back that was not used yet.
	RevokeToken(ctx context.Context, id string) error
}

// Token is a token as it is printed, once.
type Token struct {
	Token string `json:"token"`
}

const (
	tokenLife    = 24 * time.Hour
	maxTokenLife = 30 * 24 * time.Hour
)

// hosts returns what takes in hosts, or why there is nothing that does.
func (s *Server) hosts() (Hosts, error) {
	if s.Hosts == nil {
		return nil, cloud.Faultf("UnsupportedOperation", "This cloud takes no other hosts: start its front end with --peer-listen ADDRESS:8774.")
	}
	return s.Hosts, nil
}

// createToken answers POST /tokens with the parameters role, zone, name and life.
func (s *Server) createToken(r *http.Request) (Token, error) {
	h, err := s.hosts()
	if err != nil {
		return Token{}, err
	}
	role, zone, life := r.FormValue("role"), r.FormValue("zone"), tokenLife
	if v := r.FormValue("life"); v != "" {
		if life, err = time.ParseDuration(v); err != nil || life <= 0 || life > maxTokenLife {
			return Token{}, cloud.Faultf("InvalidParameterValue", "A token is good for a time such as 24h, at most %s; not %q.", maxTokenLife, v)
		}
	}
	if role != "node" && role != "cluster" {
		return Token{}, cloud.Faultf("InvalidParameterValue", "A token is for the role node or cluster, not %q.", role)
	}
	if !nameForm.MatchString(zone) {
		return Token{}, cloud.Faultf("InvalidParameterValue", "A zone's name has lower-case letters, digits and dashes, at most 63: %q is none.", zone)
	}
	t, err := h.CreateToken(audit(r, "CreateToken"), role, zone, r.FormValue("name"), life)
	return Token{t}, err
}

func (s *Server) listTokens(r *http.Request) (all []cloud.JoinToken, err error) {
	err = s.DB.Read(r.Context(), func(rx store.Rx) error {
		all, err = rx.JoinTokens(r.Context())
		for i := range all {
			all[i].Hash = ""
		}
		return err
	})
	return all, err
}

func (s *Server) revokeToken(r *http.Request) (Token, error) {
	h, err := s.hosts()
	if err != nil {
		return Token{}, err
	}
	return Token{r.PathValue("id")}, h.RevokeToken(audit(r, "RevokeToken"), r.PathValue("id"))
}
