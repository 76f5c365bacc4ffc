package libvirt

import (
	"bufio"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"eucad/hyper"
)

// record returns a copy of what is kept of a machine.
func (d *Driver) record(id string) record {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.recs[id]; r != nil {
		return *r
	}
	return record{machine: made{Machine: hyper.Machine{ID: id}}, state: state{State: hyper.Stopped}}
}

// keep keeps both halves of r.
func (d *Driver) keep(r record) error {
	return errors.Join(d.keepMachine(r), d.keepState(r))
}

// keepMachine keeps what the machine is.
func (d *Driver) keepMachine(r record) error {
	id := r.machine.Machine.ID
	d.mu.Lock()
	kept := d.recs[id]
	if kept == nil {
		kept = &record{state: r.state}
		d.recs[id] = kept
	}
	kept.machine = r.machine
	d.mu.Unlock()
	return writeJSON(filepath.Join(d.machineDir(id), machineFile), r.machine, true)
}

// keepState keeps what became of the machine. It need not be on the disk at
// once: should the host go down, the machine starts again either way.
func (d *Driver) keepState(r record) error {
	id := r.machine.Machine.ID
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.recs[id]
	if kept == nil {
		return nil // removed meanwhile
	}
	kept.state = r.state
	return writeJSON(filepath.Join(d.machineDir(id), stateFile), r.state, false)
}

func sameMade(a, b made) bool { return reflect.DeepEqual(a, b) }

// end notes how a machine that ran has ended. Only the first word on an end counts.
func (d *Driver) end(id string, how hyper.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.recs[id]
	if r == nil || r.state.State != hyper.Running {
		return
	}
	r.state.State, r.state.Since = how, time.Now().UTC()
	delete(d.hints, id)
	delete(d.asked, id)
	if err := writeJSON(filepath.Join(d.machineDir(id), stateFile), r.state, false); err != nil {
		d.log.Error("end of a machine not kept", "instance", id, "err", err)
	}
}

// settle notes the end of a machine that ran, as far as was known, and has no
// domain now: nobody told us how it ended.
func (d *Driver) settle(id string) {
	r := d.record(id)
	if r.state.State != hyper.Running {
		return
	}
	how := hyper.Stopped // with the host
	if r.state.Host == d.boot {
		how = loggedEnd(filepath.Join(d.logDir, id+".log"))
	}
	d.end(id, how)
}

// maxLogTail is how much of the end of a log is searched.
const maxLogTail = 64 << 10

// loggedEnd reads from libvirt's log of a domain how it last ended. An end
// that is not in the log is a crash.
func loggedEnd(path string) hyper.State {
	how := hyper.Crashed
	f, err := os.Open(path)
	if err != nil {
		return how
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > maxLogTail {
		f.Seek(-maxLogTail, io.SeekEnd)
	}
	for s := bufio.NewScanner(io.LimitReader(f, maxLogTail)); s.Scan(); {
		line := s.Text()
		if strings.Contains(line, ": starting up libvirt version") {
			how = hyper.Crashed
		}
		if _, reason, ok := strings.Cut(line, ": shutting down, reason="); ok {
			switch reason {
			case "shutdown":
				how = hyper.ShutDown
			case "destroyed":
				how = hyper.Stopped
			default:
				how = hyper.Crashed
			}
		}
	}
	return how
}

// adopt makes sure that a running domain is noted as running: we may have been
// killed before we could, or lost our records.
func (d *Driver) adopt(ctx context.Context, m hyper.Machine, dom golibvirt.Domain) error {
	r := d.record(m.ID)
	if r.state.State == hyper.Running {
		return nil
	}
	boot := r.machine.Machine.Boot // written right before the start
	if r.machine.Machine.UUID == "" {
		n, err := d.note(ctx, dom)
		if err != nil {
			return err
		}
		boot = n.Boot
		if err := os.MkdirAll(d.machineDir(m.ID), 0o711); err != nil {
			return err
		}
		r.machine.Machine = m
		r.machine.Machine.Boot = boot
		for _, disk := range m.Disks {
			r.machine.Made = append(r.machine.Made, disk.Path)
		}
		if err := d.keepMachine(r); err != nil {
			return err
		}
	}
	r.state = state{State: hyper.Running, Boot: boot, Host: d.boot, Since: time.Now().UTC()}
	return d.keepState(r)
}

// note returns what start wrote into the domain's metadata.
func (d *Driver) note(ctx context.Context, dom golibvirt.Domain) (n note, err error) {
	var text string
	err = d.client.call(ctx, callTime, func(l *golibvirt.Libvirt) error {
		var err error
		text, err = l.DomainGetMetadata(dom, int32(golibvirt.DomainMetadataElement), golibvirt.OptString{metadataURI}, golibvirt.DomainAffectLive)
		return err
	})
	if isCode(err, golibvirt.ErrNoDomainMetadata) || isCode(err, golibvirt.ErrNoDomain) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	return n, xml.Unmarshal([]byte(text), &n)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
