// Package libvirt runs machines by libvirtd: on KVM where it really works,
// else by QEMU's plain emulation.
//
// Domains are transient, so libvirt has nothing to forget; what must outlive
// them is kept in one directory per machine. Nothing here holds a guest up or
// takes it down when it goes: eucad and libvirtd may stop and start at will.
package libvirt

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"eucad/hyper"
)

// Options say where a Driver finds libvirt and keeps its machines. Only Dir
// must be set.
type Options struct {
	// Dir holds machines/<id>/ with each machine's disks and records. QEMU's
	// user must be able to search it and all above it.
	Dir string
	// Socket is libvirtd's. The default is that of virtqemud, where
	// there is one, else that of libvirtd, both in /run/libvirt.
	Socket string
	// URI is the driver to open there, by default qemu:///system.
	URI string
	// LogDir is where libvirt keeps QEMU's logs, by default
	// /var/log/libvirt/qemu. They tell how a guest ended while we were away.
	LogDir string
	// Log takes what an operator should know, by default slog's default.
	Log *slog.Logger
}

// A Driver runs machines through one libvirtd.
type Driver struct {
	dir    string // of the machines
	logDir string
	log    *slog.Logger
	client *client
	boot   string // id of this boot of the host

	locks keyed // one operation at a time on each machine

	mu      sync.Mutex
	recs    map[string]*record
	hints   map[string]hyper.State // how a guest that is about to stop does it, from events
	asked   map[string]time.Time   // when a guest was last asked to shut down
	virt    string                 // "kvm" or "qemu", once found out
	warning string
}

var _ hyper.Driver = (*Driver)(nil)

// New returns a driver for the machines below o.Dir. libvirtd need not be
// there yet.
func New(o Options) (*Driver, error) {
	sockets := []string{"/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"}
	if o.Socket != "" {
		sockets = []string{o.Socket}
	}
	if o.URI == "" {
		o.URI = string(golibvirt.QEMUSystem)
	}
	if o.LogDir == "" {
		o.LogDir = "/var/log/libvirt/qemu"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	dir, err := filepath.Abs(filepath.Join(o.Dir, "machines"))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make the machines' directory: %w", err)
	}
	boot, err := hostBoot()
	if err != nil {
		return nil, err
	}
	recs, err := loadRecords(dir)
	if err != nil {
		return nil, fmt.Errorf("read the machines' records: %w", err)
	}
	return &Driver{
		dir: dir, logDir: o.LogDir, log: o.Log, boot: boot, recs: recs,
		client: newClient(sockets, o.URI, o.Log),
		hints:  map[string]hyper.State{},
		asked:  map[string]time.Time{},
	}, nil
}

// Close closes the driver's connections. Guests go on.
func (d *Driver) Close() error {
	d.client.close()
	return nil
}

// machineDir is where all of one machine's files are.
func (d *Driver) machineDir(id string) string { return filepath.Join(d.dir, id) }

// find returns the running domain of the machine id, and whether there is one.
// The UUID may be unknown, then it goes by name.
func (d *Driver) find(ctx context.Context, id, uuid string) (dom golibvirt.Domain, ok bool, err error) {
	err = d.client.call(ctx, callTime, func(l *golibvirt.Libvirt) error {
		var err error
		if u, perr := hyper.ParseUUID(uuid); perr == nil {
			dom, err = l.DomainLookupByUUID(golibvirt.UUID(u))
		} else {
			dom, err = l.DomainLookupByName(id)
		}
		return err
	})
	switch {
	case isCode(err, golibvirt.ErrNoDomain):
		return golibvirt.Domain{}, false, nil
	case err != nil:
		return golibvirt.Domain{}, false, fmt.Errorf("look for machine %s: %w", id, err)
	case dom.UUID == golibvirt.UUID{} || dom.Name != id:
		// On Xen the nil UUID is Domain-0, the host itself.
		return golibvirt.Domain{}, false, fmt.Errorf("machine %s: libvirt has a domain %q with its UUID", id, dom.Name)
	}
	return dom, true, nil
}

// A keyed is a lock for each key.
type keyed struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock takes the lock of key, unless ctx ends first.
func (k *keyed) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		k.mu.Lock()
		held, taken := k.held[key]
		if !taken {
			if k.held == nil {
				k.held = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			k.held[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.held, key)
				k.mu.Unlock()
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
