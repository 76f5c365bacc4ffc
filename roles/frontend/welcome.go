package frontend

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"

	"eucad/roles/peer"
)

// news wakes those who wait for something to change. The zero value is ready.
type news struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that closes when there is news again.
func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *news) spread() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}

// welcome streams what the caller would be told if it joined now, such as who
// is denied, whenever that changes. The position is a sum of what was told, so
// that a host which knows it all is told nothing, whoever told it.
func (p *peers) welcome(w http.ResponseWriter, r *http.Request) {
	id, told := peer.Caller(r.Context()), peer.Since(r)
	err := peer.Stream(w, r, func(ctx context.Context) (string, any, error) {
		for {
			changed := p.news.next()
			now, err := p.authority.WelcomeOf(ctx, id)
			if err != nil {
				return "", nil, err
			}
			b, err := json.Marshal(now)
			if err != nil {
				return "", nil, err
			}
			sum := sha256.Sum256(b)
			if at := hex.EncodeToString(sum[:8]); at != told {
				told = at
				return at, now, nil
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return "", nil, ctx.Err()
			}
		}
	})
	if err != nil && r.Context().Err() == nil {
		slog.Debug("host is told no more news", "node", id.Name, "err", err)
	}
}
