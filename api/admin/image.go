package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"eucad/store"
	"eucad/store/cloud"
)

// An Importer reads a disk image (or, kind "kernel" or "ramdisk", a file that
// is kept as it is), checks it, and keeps it in the image directory under the
// hash of its content. size is that of r, or -1. progress is told how much of
// which step is done. A file that is no good is a Fault.
type Importer func(ctx context.Context, r io.Reader, size int64, kind string, progress func(step string, done, total int64)) (Content, error)

// Content is an imported file.
type Content struct {
	Hash      string // names the file
	SizeBytes int64  // virtual
}

// Progress is one line of the answer to an import. The last one has Image or Error.
type Progress struct {
	Step  string       `json:"step,omitempty"`
	Done  int64        `json:"done,omitempty"`
	Total int64        `json:"total,omitempty"`
	Image *cloud.Image `json:"image,omitempty"`
	Error *Error       `json:"error,omitempty"`
}

// importImage takes a disk image as the body of a POST with the parameters
// account, name, description, kind (machine, kernel, ramdisk), arch, kernel,
// ramdisk, public, uefi; it answers with lines of Progress.
func (s *Server) importImage(w http.ResponseWriter, r *http.Request) {
	defer drain(r.Body)
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex() // progress goes out while the body comes in; HTTP/1 only lets us ask
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	var last time.Time
	say := func(p Progress) {
		if p.Image == nil && p.Error == nil && p.Done != p.Total && time.Since(last) < 100*time.Millisecond {
			return
		}
		last = time.Now()
		out.Encode(p)
		rc.Flush()
	}
	m, err := s.doImport(audit(r, "ImportImage"), r, func(step string, done, total int64) { say(Progress{Step: step, Done: done, Total: total}) })
	if err != nil {
		say(Progress{Error: errorOf(err)})
		return
	}
	say(Progress{Image: &m})
}

func (s *Server) doImport(ctx context.Context, r *http.Request, progress func(string, int64, int64)) (cloud.Image, error) {
	q := r.URL.Query()
	m := cloud.Image{
		Name: q.Get("name"), Description: q.Get("description"), Type: q.Get("kind"), Arch: q.Get("arch"), State: "available",
		RootDevice: "/dev/sda1", KernelID: q.Get("kernel"), RamdiskID: q.Get("ramdisk"),
		UEFI: q.Get("uefi") == "true", Public: q.Get("public") == "true", EnaSupport: true,
	}
	prefix := map[string]string{"machine": "ami", "kernel": "aki", "ramdisk": "ari"}[m.Type]
	switch {
	case prefix == "":
		return m, cloud.Faultf("InvalidParameterValue", "An image is a machine, kernel or ramdisk, not %q.", m.Type)
	case m.Arch != "x86_64" && m.Arch != "arm64":
		return m, cloud.Faultf("InvalidParameterValue", "The architecture of an image is x86_64 or arm64, not %q.", m.Arch)
	}
	if err := m.Check(); err != nil {
		return m, err
	}
	account := q.Get("account")
	check := func(rx store.Rx) error {
		a, err := find(ctx, rx, account)
		if err != nil {
			return err
		}
		m.AccountID = a.ID
		return s.checkImage(ctx, rx, m)
	}
	if err := s.DB.Read(ctx, check); err != nil {
		return m, err // before the long work
	}
	size, err := strconv.ParseInt(q.Get("size"), 10, 64)
	if err != nil {
		size = -1
	}
	c, err := s.Import(ctx, r.Body, size, m.Type, progress)
	if err != nil {
		return m, err
	}
	m.Hash, m.SizeBytes = c.Hash, c.SizeBytes
	err = s.DB.Write(ctx, func(tx store.Tx) error {
		if err := check(tx.Rx); err != nil {
			return err
		}
		m.ID, m.Created, m.Source = cloud.NewID(prefix), tx.Now(), m.AccountID+"/"+m.Name
		if m.Type == "machine" {
			snap := cloud.Snapshot{ID: cloud.NewID("snap"), AccountID: m.AccountID, State: "completed", Hash: m.Hash,
				SizeGiB: (m.SizeBytes + 1<<30 - 1) >> 30, SizeBytes: m.SizeBytes, Description: "Imported for " + m.ID, Created: tx.Now()}
			if err := tx.PutSnapshot(ctx, snap); err != nil {
				return err
			}
			m.Mappings = []cloud.ImageMapping{{Device: m.RootDevice, SnapshotID: snap.ID, SizeGiB: snap.SizeGiB, DeleteOnTermination: true, VolumeType: "gp3"}}
		}
		if err := tx.PutImage(ctx, m); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return m, err
}

// checkImage says what speaks against an image before its content is known.
func (s *Server) checkImage(ctx context.Context, rx store.Rx, m cloud.Image) error {
	all, err := rx.Images(ctx, m.AccountID)
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.AccountID == m.AccountID && o.Name == m.Name {
			return cloud.Faultf("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s.", m.Name, o.ID)
		}
	}
	for kind, id := range map[string]string{"kernel": m.KernelID, "ramdisk": m.RamdiskID} {
		if id == "" {
			continue
		}
		o, err := rx.Image(ctx, m.AccountID, id)
		if err != nil {
			return err
		}
		if o.Type != kind {
			return cloud.Faultf("InvalidAMIID.Unavailable", "The image %s is a %s, not a %s.", id, o.Type, kind)
		}
	}
	return nil
}

// collectEvery is how often unused image contents are looked for, and the age
// a file must have: an import keeps the file before it writes the row.
const collectEvery = time.Hour

// CollectImages deletes the contents that no image, snapshot or volume needs
// any more, until ctx ends.
func (s *Server) CollectImages(ctx context.Context) error {
	t := time.NewTicker(collectEvery)
	defer t.Stop()
	for {
		if err := s.collect(ctx, time.Now().Add(-collectEvery)); err != nil && ctx.Err() == nil {
			slog.Error("cannot collect unused images", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (s *Server) collect(ctx context.Context, before time.Time) error {
	files, err := os.ReadDir(s.Images)
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || !info.Mode().IsRegular() || info.ModTime().After(before) {
			continue
		}
		hash, _, _ := strings.Cut(f.Name(), ".")
		used := true
		err = s.DB.Read(ctx, func(rx store.Rx) (err error) {
			used, err = rx.HashUsed(ctx, hash)
			return err
		})
		if err != nil {
			return err
		}
		if !used {
			slog.Info("image content is not used any more", "hash", hash)
			if err := os.Remove(filepath.Join(s.Images, f.Name())); err != nil {
				return fmt.Errorf("collect images: %w", err)
			}
		}
	}
	return nil
}
