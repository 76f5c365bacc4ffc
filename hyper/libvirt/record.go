package libvirt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"eucad/hyper"
	"eucad/store/file"
)

// A record is what the driver keeps of a machine on disk, in two files of the
// machine's directory. machine.json says what the machine is and is on the
// disk before the machine is; state.json says what became of it.
type record struct {
	machine made
	state   state
}

// made is the content of machine.json.
type made struct {
	Machine hyper.Machine
	// Made are the paths of the disks that the driver made, and so removes.
	Made []string
}

// state is the content of state.json.
type state struct {
	State hyper.State
	Boot  uint64 // of the machine as last started
	Host  string // the host's boot id at that time: a machine that is gone after a reboot of the host did not end itself
	Since time.Time
}

const (
	machineFile = "machine.json"
	stateFile   = "state.json"
)

// hostBoot returns an id that changes with each boot of the host.
func hostBoot() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the host's boot id: %w", err)
	}
	return string(b[:min(36, len(b))]), nil
}

// loadRecords reads the record of every machine below dir. A state that can't
// be read, as after a power cut, is that of a machine that is stopped.
func loadRecords(dir string) (map[string]*record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	recs := map[string]*record{}
	for _, e := range entries {
		if hyper.CheckID(e.Name()) != nil || !e.IsDir() {
			continue
		}
		r := &record{machine: made{Machine: hyper.Machine{ID: e.Name()}}, state: state{State: hyper.Stopped}}
		if err := readJSON(filepath.Join(dir, e.Name(), machineFile), &r.machine); err != nil {
			return nil, err
		}
		if err := readJSON(filepath.Join(dir, e.Name(), stateFile), &r.state); err != nil {
			return nil, err
		}
		r.machine.Machine.ID = e.Name()
		recs[e.Name()] = r
	}
	return recs, nil
}

// readJSON reads path into v, and leaves v alone when there is no such file
// or it is no JSON.
func readJSON[T any](path string, v *T) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var got T
	if json.Unmarshal(b, &got) == nil {
		*v = got
	}
	return nil
}

// writeJSON replaces path by v, at once or not at all. With sync it is on the
// disk when writeJSON returns.
func writeJSON(path string, v any, sync bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if sync {
		return file.Write(path, b)
	}
	tmp := path + ".new"
	err = os.WriteFile(tmp, b, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}
