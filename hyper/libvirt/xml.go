package libvirt

import (
	"encoding/xml"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"libvirt.org/go/libvirtxml"

	"eucad/hyper"
)

// metadataURI names the element of a domain's metadata that is ours.
const metadataURI = "https://eucad.org/xmlns/machine/1"

// A builder describes a machine to one kind of hypervisor.
type builder func(m hyper.Machine, dir string) *libvirtxml.Domain

// builders holds a builder for each kind. Xen's guests have other disks,
// consoles and interfaces, so they get a builder of their own.
var builders = map[string]builder{
	"kvm":  func(m hyper.Machine, dir string) *libvirtxml.Domain { return qemuDomain("kvm", m, dir) },
	"qemu": func(m hyper.Machine, dir string) *libvirtxml.Domain { return qemuDomain("qemu", m, dir) },
}

// domainXML returns the domain of m on a hypervisor of this kind. The
// machine's own files are in dir.
func domainXML(kind string, m hyper.Machine, dir string) (string, error) {
	build, ok := builders[kind]
	if !ok {
		return "", fmt.Errorf("there is no way to describe a machine to %q", kind)
	}
	return build(m, dir).Marshal()
}

// qemuDomain describes m to QEMU. Virtual hardware is q35, the newer of
// QEMU's two PCs; the firmware is SeaBIOS, or OVMF with m.UEFI.
func qemuDomain(kind string, m hyper.Machine, dir string) *libvirtxml.Domain {
	on := &libvirtxml.DomainFeature{}
	off := &libvirtxml.DomainPMPolicy{Enabled: "no"} // a suspended guest can't be woken by EC2's API
	d := &libvirtxml.Domain{
		Type:     kind,
		Name:     m.ID,
		UUID:     m.UUID,
		Metadata: &libvirtxml.DomainMetadata{XML: noteXML(m, dir, true)},
		Memory:   &libvirtxml.DomainMemory{Value: uint(m.MemoryMiB), Unit: "MiB"},
		VCPU:     &libvirtxml.DomainVCPU{Value: uint(m.CPUs)},
		CPU: &libvirtxml.DomainCPU{
			Mode: "host-passthrough", Check: "none",
			Topology: &libvirtxml.DomainCPUTopology{Sockets: 1, Dies: 1, Cores: m.CPUs, Threads: 1},
		},
		OS: &libvirtxml.DomainOS{
			Type:   &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "q35", Type: "hvm"},
			SMBios: &libvirtxml.DomainSMBios{Mode: "sysinfo"},
			Kernel: m.Kernel,
		},
		SysInfo:  []libvirtxml.DomainSysInfo{{SMBIOS: smbios(m)}},
		Features: &libvirtxml.DomainFeatureList{ACPI: on, APIC: &libvirtxml.DomainFeatureAPIC{}},
		Clock:    &libvirtxml.DomainClock{Offset: "utc"},
		PM:       &libvirtxml.DomainPM{SuspendToMem: off, SuspendToDisk: off},

		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",

		Devices: &libvirtxml.DomainDeviceList{
			Disks:       qemuDisks(m.Disks),
			Interfaces:  qemuInterfaces(m.NICs),
			Serials:     []libvirtxml.DomainSerial{serial(dir)},
			Channels:    []libvirtxml.DomainChannel{agent()},
			Graphics:    []libvirtxml.DomainGraphic{{VNC: &libvirtxml.DomainGraphicVNC{Listeners: []libvirtxml.DomainGraphicListener{{Socket: &libvirtxml.DomainGraphicListenerSocket{}}}}}},
			Videos:      []libvirtxml.DomainVideo{{Model: libvirtxml.DomainVideoModel{Type: "vga"}}},
			RNGs:        []libvirtxml.DomainRNG{{Model: "virtio", Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}}}},
			Panics:      []libvirtxml.DomainPanic{{Model: "isa"}},
			MemBalloon:  &libvirtxml.DomainMemBalloon{Model: "virtio", AutoDeflate: "on", FreePageReporting: "on"},
			Controllers: []libvirtxml.DomainController{{Type: "usb", Model: "none"}},
		},
	}
	if kind == "qemu" {
		d.CPU.Mode = "maximum" // all that emulation offers; modern systems ask for x86-64-v2
	}
	if m.Kernel != "" {
		d.OS.Initrd, d.OS.Cmdline = m.Initrd, m.Cmdline
	} else {
		d.OS.BootDevices = []libvirtxml.DomainBootDevice{{Dev: "hd"}}
	}
	if m.UEFI {
		d.OS.Firmware = "efi"
		d.OS.NVRam = &libvirtxml.DomainNVRam{NVRam: filepath.Join(dir, "nvram.fd")}
	}
	return d
}

// smbios fills the tables where tools look to learn that they are on EC2:
// the system's UUID and serial number are equal and begin with "ec2"
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html),
// and the board's asset tag is the instance's id.
func smbios(m hyper.Machine) *libvirtxml.DomainSysInfoSMBIOS {
	const vendor = "Amazon EC2"
	entries := func(kv ...string) (es []libvirtxml.DomainSysInfoEntry) {
		for i := 0; i < len(kv); i += 2 {
			es = append(es, libvirtxml.DomainSysInfoEntry{Name: kv[i], Value: kv[i+1]})
		}
		return es
	}
	return &libvirtxml.DomainSysInfoSMBIOS{
		BIOS:      &libvirtxml.DomainSysInfoBIOS{Entry: entries("vendor", vendor, "version", "1.0")},
		System:    &libvirtxml.DomainSysInfoSystem{Entry: entries("manufacturer", vendor, "product", "eucad", "serial", m.UUID, "uuid", m.UUID)},
		BaseBoard: []libvirtxml.DomainSysInfoBaseBoard{{Entry: entries("manufacturer", vendor, "asset", m.ID)}},
		Chassis:   &libvirtxml.DomainSysInfoChassis{Entry: entries("manufacturer", vendor, "asset", vendor)},
	}
}

// qemuDisks describes the disks. Each layer and its format is named, so that
// nothing is guessed from what a guest may have written.
func qemuDisks(disks []hyper.Disk) (out []libvirtxml.DomainDisk) {
	for _, d := range disks {
		x := libvirtxml.DomainDisk{
			Device: "disk",
			Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: d.Format, Discard: "unmap"},
			Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: d.Path}},
			Target: &libvirtxml.DomainDiskTarget{Dev: d.Target, Bus: "virtio"},
			Serial: strings.ReplaceAll(d.ID, "-", ""),
			// An empty one ends the chain.
			BackingStore: &libvirtxml.DomainDiskBackingStore{},
		}
		if d.Base != "" {
			x.BackingStore = &libvirtxml.DomainDiskBackingStore{
				Format: &libvirtxml.DomainDiskFormat{Type: "qcow2"},
				Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{
					File: d.Base,
					// The base belongs to many machines: QEMU must not come to own it.
					SecLabel: []libvirtxml.DomainDeviceSecLabel{{Model: "dac", Relabel: "no"}},
				}},
				BackingStore: &libvirtxml.DomainDiskBackingStore{},
			}
		}
		if d.ReadOnly {
			x.ReadOnly = &libvirtxml.DomainDiskReadOnly{}
		}
		out = append(out, x)
	}
	return out
}

// qemuInterfaces joins the guest to taps that are there already. Their MTU is
// told to the guest; libvirt's managed='no' leaves the tap itself alone.
func qemuInterfaces(nics []hyper.NIC) []libvirtxml.DomainInterface {
	var out []libvirtxml.DomainInterface
	for _, n := range nics {
		x := libvirtxml.DomainInterface{
			MAC:    &libvirtxml.DomainInterfaceMAC{Address: n.MAC},
			Source: &libvirtxml.DomainInterfaceSource{Ethernet: &libvirtxml.DomainInterfaceSourceEthernet{}},
			Target: &libvirtxml.DomainInterfaceTarget{Dev: n.Tap, Managed: "no"},
			Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
			ROM:    &libvirtxml.DomainROM{Enabled: "no"}, // no network boot
		}
		if n.MTU > 0 {
			x.MTU = &libvirtxml.DomainInterfaceMTU{Size: uint(n.MTU)}
		}
		out = append(out, x)
	}
	return out
}

// serial is the first serial port, whose output libvirt's virtlogd writes to
// a file that it keeps small (max_size and max_backups of virtlogd.conf).
func serial(dir string) libvirtxml.DomainSerial {
	port := uint(0)
	return libvirtxml.DomainSerial{
		Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
		Target: &libvirtxml.DomainSerialTarget{Port: &port},
		Log:    &libvirtxml.DomainChardevLog{File: filepath.Join(dir, consoleFile), Append: "on"},
	}
}

// agent is the channel of the QEMU guest agent.
func agent() libvirtxml.DomainChannel {
	return libvirtxml.DomainChannel{
		Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}},
		Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: "org.qemu.guest_agent.0"}},
	}
}

// A note is what the driver writes into a domain's metadata, for the case
// that its own records are lost.
type note struct {
	XMLName xml.Name `xml:"machine"`
	Dir     string   `xml:"dir,attr"` // of the machine: tells our machines from those of another eucad on the host
	Boot    uint64   `xml:"boot,attr"`
	Meta    string   `xml:",chardata"`
}

// noteXML returns m's note, as libvirt wants it when it adds the name space
// itself, or with that.
func noteXML(m hyper.Machine, dir string, namespace bool) string {
	name, declare := "machine", ""
	if namespace {
		name, declare = "eucad:machine", ` xmlns:eucad="`+metadataURI+`"`
	}
	var b strings.Builder
	b.WriteString("<" + name + declare + ` dir="`)
	xml.EscapeText(&b, []byte(dir))
	b.WriteString(`" boot="` + strconv.FormatUint(m.Boot, 10) + `">`)
	xml.EscapeText(&b, m.Meta)
	b.WriteString("</" + name + ">")
	return b.String()
}
