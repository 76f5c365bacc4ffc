package libvirt

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"eucad/hyper"
	"eucad/hyper/libvirt/libvirttest"
)

// BenchmarkLaunch compares starting and removing a machine with the least
// that they could cost: qemu-img's overlay and a bare DomainCreateXML of the
// same domain, and a bare DomainDestroy. The two take turns, so that both see
// the same host. The ratios of the medians are x-floor and x-destroy.
func BenchmarkLaunch(b *testing.B) {
	dm := libvirttest.NewPrivate(b)
	d := open(b, dm)
	base := filepath.Join(dm.Dir, "base.qcow2")
	if err := qemuImg(b.Context(), "create", "-q", "-f", "qcow2", "--", base, "1G"); err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(base, 0o644); err != nil {
		b.Fatal(err)
	}
	launch := func() (start, stop time.Duration) {
		m := benchMachine(dm.Dir, base)
		begin := time.Now()
		if err := d.Apply(b.Context(), m); err != nil {
			b.Fatal(err)
		}
		start = time.Since(begin)
		begin = time.Now()
		if err := d.Remove(b.Context(), m.ID); err != nil {
			b.Fatal(err)
		}
		return start, time.Since(begin)
	}
	floor := func() (start, stop time.Duration) {
		m := benchMachine(dm.Dir, base)
		dir := d.machineDir(m.ID)
		xml, err := domainXML("qemu", m, dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o711); err != nil {
			b.Fatal(err)
		}
		defer os.RemoveAll(dir)
		err = d.client.call(b.Context(), createTime, func(l *golibvirt.Libvirt) error {
			begin := time.Now()
			if err := qemuImg(b.Context(), "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, "--", m.Disks[0].Path, "1G"); err != nil {
				return err
			}
			dom, err := l.DomainCreateXML(xml, 0)
			if err != nil {
				return err
			}
			start = time.Since(begin)
			begin = time.Now()
			if err := l.DomainDestroy(dom); err != nil {
				return err
			}
			stop = time.Since(begin)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		return start, stop
	}
	launch() // libvirt probes QEMU at the first one
	floor()

	var ours, theirs struct{ start, stop []time.Duration }
	one := func(f func() (start, stop time.Duration), into *struct{ start, stop []time.Duration }) {
		start, stop := f()
		into.start, into.stop = append(into.start, start), append(into.stop, stop)
	}
	for n := 0; b.Loop(); n++ {
		if n%2 == 0 {
			one(launch, &ours)
			one(floor, &theirs)
		} else {
			one(floor, &theirs)
			one(launch, &ours)
		}
	}
	b.ReportMetric(float64(median(ours.start))/1e6, "launch-ms")
	b.ReportMetric(float64(median(ours.start))/float64(median(theirs.start)), "x-floor")
	b.ReportMetric(float64(median(ours.stop))/1e6, "remove-ms")
	b.ReportMetric(float64(median(ours.stop))/float64(median(theirs.stop)), "x-destroy")
}

func benchMachine(dir, base string) hyper.Machine {
	m := machine(dir)
	m.Disks[0].Base = base
	return m
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}
