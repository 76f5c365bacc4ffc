package sim

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"eucad/hyper"
)

// Console returns a boot log made up from what the machine is, always the
// same one for the same machine, which says that it is simulated; see
// hyper.Driver.
func (d *Driver) Console(ctx context.Context, id string) ([]byte, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[id]
	if m == nil || m.Boot == 0 {
		return nil, time.Time{}, nil
	}
	return m.console(), m.Since, nil
}

func (m *machine) console() []byte {
	var b bytes.Buffer
	line := func(at float64, format string, args ...any) {
		fmt.Fprintf(&b, "[%12.6f] "+format+"\r\n", append([]any{at}, args...)...)
	}
	line(0, "eucad simulated machine %s, boot %d: no guest runs here", m.ID, m.Boot)
	line(0.004211, "DMI: Amazon EC2 eucad/simulated, BIOS 1.0")
	line(0.018320, "Memory: %dK/%dK available", m.MemoryMiB<<10*97/100, m.MemoryMiB<<10)
	line(0.061544, "smp: Brought up 1 node, %d CPUs", m.CPUs)
	for i, disk := range m.Disks {
		line(0.412000+float64(i)/1000, "virtio_blk virtio%d: [vd%c] %d 512-byte logical blocks (%s)", i+2, 'a'+i%26, disk.Bytes/512, disk.ID)
	}
	for i, mac := range m.MACs {
		line(0.530100+float64(i)/1000, "virtio_net virtio%d eth%d: hardware address %s", i+1, i, mac)
	}
	line(0.904417, "Run /sbin/init as init process")
	fmt.Fprintf(&b, "\r\nSimulated GNU/Linux %s ttyS0\r\n\r\n%s login: ", m.ID, m.ID)
	switch m.State {
	case hyper.ShutDown:
		b.WriteString("\r\n")
		line(60, "reboot: Power down")
	case hyper.Crashed:
		b.WriteString("\r\n")
		line(60, "Kernel panic - not syncing: simulated crash")
	}
	return b.Bytes()
}
