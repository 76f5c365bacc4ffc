package roles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"

	"eucad/api/admin"
	"eucad/store/cloud"
)

// importSim takes anything for an image: simulated machines have no use for
// the content, only for its name and size.
func importSim(ctx context.Context, r io.Reader, size int64, kind string, progress func(step string, done, total int64)) (admin.Content, error) {
	h := sha256.New()
	n, err := io.Copy(h, &progressReader{ctx: ctx, r: r, total: size, say: progress})
	if err != nil {
		return admin.Content{}, err
	}
	if n == 0 {
		return admin.Content{}, cloud.Faultf("InvalidParameterValue", "The image is empty.")
	}
	return admin.Content{Hash: hex.EncodeToString(h.Sum(nil)), SizeBytes: n}, nil
}

// A progressReader tells how much of r was read, and ends with ctx.
type progressReader struct {
	ctx         context.Context
	r           io.Reader
	done, total int64
	say         func(step string, done, total int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := p.r.Read(b)
	p.done += int64(n)
	p.say("reading", p.done, p.total)
	return n, err
}
