package roles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"eucad/hyper/libvirt"
)

// A Finding is what a look at a host says: of one thing, whether it is well,
// and if not, how to mend it.
type Finding struct {
	Well bool   `json:"well"`
	What string `json:"what"`
	Mend string `json:"mend,omitempty"`
}

// doctorTime bounds what the host is given to answer.
const doctorTime = 15 * time.Second

// Doctor looks at this host and says what is broken, and the mend.
func Doctor(ctx context.Context, c Config) []Finding {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	var out []Finding
	say := func(well bool, what, mend string) {
		if well {
			mend = ""
		}
		out = append(out, Finding{well, what, mend})
	}
	say(os.Geteuid() == 0, "runs as the superuser", "run it by sudo: guests and their networks need it")
	for _, tool := range []string{"qemu-img", "qemu-system-x86_64", "prlimit"} {
		_, err := exec.LookPath(tool)
		say(err == nil, tool+" is installed", "apt-get install qemu-utils qemu-system-x86 util-linux")
	}
	lookAtKVM(say)
	lookAtLibvirt(ctx, c, say)
	lookAtDir(c.Dir, say)
	lookForOrphans(ctx, c.Dir, say)
	return out
}

// lookAtKVM knows of a trap: where /dev/kvm is there and libvirt's QEMU can't
// open it, libvirt probes QEMU anew at each start of a guest, for most of a minute.
func lookAtKVM(say func(bool, string, string)) {
	info, err := os.Stat("/dev/kvm")
	if errors.Is(err, fs.ErrNotExist) {
		say(true, "there is no /dev/kvm: guests are emulated", "")
		return
	}
	open := err == nil && info.Mode().Perm()&0o006 == 0o006
	if st, ok := sys(info); err == nil && !open && ok {
		open = mayOpen("libvirt-qemu", st)
	}
	say(open, "libvirt's QEMU may open /dev/kvm", "chmod 0666 /dev/kvm, and restart libvirtd: else each start of a guest takes most of a minute")
}

func sys(info fs.FileInfo) (*syscall.Stat_t, bool) {
	if info == nil {
		return nil, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return st, ok
}

// mayOpen reports whether the user may read and write a file, by being in its group.
func mayOpen(name string, st *syscall.Stat_t) bool {
	u, err := user.Lookup(name)
	if err != nil || st.Mode&0o060 != 0o060 {
		return false
	}
	groups, err := u.GroupIds()
	return err == nil && slices.Contains(groups, strconv.Itoa(int(st.Gid)))
}

func lookAtLibvirt(ctx context.Context, c Config, say func(bool, string, string)) {
	scratch, err := os.MkdirTemp("", "eucad-doctor") // a doctor leaves nothing in the patient
	if err != nil {
		say(false, "temporary files can be made: "+err.Error(), "look at the rights of "+os.TempDir())
		return
	}
	defer os.RemoveAll(scratch)
	quiet := slog.New(slog.DiscardHandler)
	d, err := libvirt.New(libvirt.Options{Dir: scratch, Socket: c.Libvirt, LogDir: c.LibvirtLogs, Log: quiet})
	if err != nil {
		say(false, "libvirt can be asked: "+err.Error(), "see what that says")
		return
	}
	defer d.Close()
	host, err := d.Host(ctx)
	if err != nil {
		say(false, "libvirtd answers: "+err.Error(), "systemctl start libvirtd, or by hand: virtlogd -d; libvirtd -d")
		return
	}
	say(true, fmt.Sprintf("libvirtd answers: %d CPUs, %d MiB of memory, guests run by %s", host.CPUs, host.MemoryMiB, host.Kind), "")
	if host.Warning != "" {
		say(false, host.Warning, "nothing but speed is lost; on hardware with vmx or svm, load kvm_intel or kvm_amd")
	}
}

func lookAtDir(dir string, say func(bool, string, string)) {
	for at := dir; at != "/" && at != "."; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && info.Mode().Perm()&0o001 == 0 {
			say(false, "QEMU's user may search "+at, "chmod o+x "+at)
		}
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err == nil && fs.Blocks > 0 {
		free := int(fs.Bavail * 100 / fs.Blocks)
		say(free >= hostDiskPercent, fmt.Sprintf("the file system of %s has %d %% free", dir, free), "free some space there, or give --dir a larger one")
	}
}

// lookForOrphans asks the eucad that runs here for guests that its plan does not know.
func lookForOrphans(ctx context.Context, dir string, say func(bool, string, string)) {
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "eucad.sock"))
	}}}
	r, err := http.NewRequestWithContext(ctx, "GET", "http://eucad/orphans", nil)
	if err != nil {
		return
	}
	resp, err := c.Do(r)
	if err != nil {
		say(false, "eucad runs in "+dir, "start it: eucad --role all, or as its unit is called")
		return
	}
	defer resp.Body.Close()
	var orphans []string
	if err := json.NewDecoder(resp.Body).Decode(&orphans); err != nil {
		say(false, "eucad in "+dir+" answers: "+err.Error(), "look at its log")
		return
	}
	say(true, "eucad runs in "+dir, "")
	if len(orphans) > 0 {
		say(false, fmt.Sprintf("%d guests here are not in the plan and are left alone: %s", len(orphans), strings.Join(orphans, ", ")),
			"if nobody needs them, destroy them by virsh and remove their directories below "+filepath.Join(dir, "node/machines"))
	}
}
