package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"eucad/hyper"
)

// A journal keeps machines as one line of JSON for each change, so that a
// start costs one small write whatever the number of machines. It survives
// the death of the process at any moment, though not always that of the
// host: a simulated machine is not worth waiting for a disk.
type journal struct {
	path  string
	file  *os.File
	lines int
}

// maxLine bounds a line of the journal. EC2's user data, the largest part of
// a machine's Meta, has at most 16 KiB.
const maxLine = 1 << 20

// openJournal reads what was kept at path and goes on from there.
func openJournal(path string) (*journal, map[string]*machine, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, err
	}
	machines := map[string]*machine{}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	j := &journal{path: path, file: f}
	if j.lines, err = readJournal(f, machines); err == nil {
		_, err = f.WriteString("\n") // ends a line that was cut off
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return j, machines, nil
}

// readJournal adds what f says to machines and returns the number of lines. A
// line that was cut off when the process died was never answered for and
// doesn't count.
func readJournal(f *os.File, machines map[string]*machine) (lines int, err error) {
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 64<<10), maxLine)
	for ; s.Scan(); lines++ {
		var m machine
		if json.Unmarshal(s.Bytes(), &m) != nil || m.ID == "" {
			continue
		}
		if m.State == hyper.Absent {
			delete(machines, m.ID)
		} else {
			machines[m.ID] = &m
		}
	}
	return lines, s.Err()
}

// write notes m. It holds Driver.mu. A nil journal keeps nothing.
func (j *journal) write(m *machine, all map[string]*machine) error {
	if j == nil {
		return nil
	}
	if j.lines > 4*len(all)+10_000 { // mostly the past
		return j.rewrite(all)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	j.lines++
	_, err = j.file.Write(append(b, '\n'))
	return err
}

// rewrite replaces the journal by one that holds only what is.
func (j *journal) rewrite(machines map[string]*machine) error {
	f, err := os.OpenFile(j.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for _, m := range machines {
		if err = enc.Encode(m); err != nil {
			break
		}
	}
	if err := errors.Join(err, w.Flush()); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := os.Rename(f.Name(), j.path); err != nil {
		return errors.Join(err, f.Close())
	}
	old := j.file
	j.file, j.lines = f, len(machines)
	if old != nil {
		return old.Close()
	}
	return nil
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}

// same says whether a journal need not tell m from o.
func (m *machine) same(o *machine) bool {
	return m.ID == o.ID && m.Boot == o.Boot && m.State == o.State && m.Since.Equal(o.Since) &&
		m.CPUs == o.CPUs && m.MemoryMiB == o.MemoryMiB && bytes.Equal(m.Meta, o.Meta) &&
		slices.Equal(m.Disks, o.Disks) && slices.Equal(m.MACs, o.MACs)
}
