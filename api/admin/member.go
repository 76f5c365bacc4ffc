package admin

import "net/http"

// A Member is a host of the cloud as gossip sees it.
type Member struct {
	Role    string `json:"role"`
	Name    string `json:"name"`
	Zone    string `json:"zone,omitempty"`
	Address string `json:"address"` // of its peer API
	Version string `json:"version"`
}

func (s *Server) listMembers(r *http.Request) ([]Member, error) {
	h, err := s.hosts()
	if err != nil {
		return nil, err
	}
	return h.Members(), nil
}
