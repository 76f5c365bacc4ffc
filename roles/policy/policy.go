// Package policy finds placement policies by name, and runs those that a site
// wrote itself, in Starlark.
//
// A site's policy is a file that defines
//
//	def place(need, nodes):
//
// and returns the name of one of nodes, or None to refuse them all. It sees
// only nodes on which the instance fits, in the order of their names. The
// attributes of need are type, zone, arch, cpus, memory_mib, disk_gib and
// last (the node that was last given an instance), those of a node are name,
// zone, arch, kind, instances, cpus, memory_mib, disk_gib, and free_cpus,
// free_memory_mib and free_disk_gib.
package policy

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"eucad/store/cloud"
)

// Bounds of a site's policy. A launch waits for it, and others for the launch.
const (
	maxSource   = 256 << 10   // bytes of the file
	maxSteps    = 5_000_000   // of the interpreter in one decision; 1,000 nodes take some 20,000
	maxTime     = time.Second // of one decision; a busy machine needs longer than it should
	maxFailures = 100         // that are told apart, so that each is logged once
)

// Find returns the policy of a name, or the one in a file whose name ends in .star.
func Find(name string) (cloud.Policy, error) {
	if strings.HasSuffix(name, ".star") {
		return Load(name)
	}
	var names []string
	for _, p := range cloud.Policies() {
		if p.Name() == name {
			return p, nil
		}
		names = append(names, p.Name())
	}
	return nil, fmt.Errorf("there is no placement policy %q; it is one of %s, or a FILE.star", name, strings.Join(names, ", "))
}

// A Script is a policy in Starlark. When its file changes it is read again.
type Script struct {
	file  string
	steps uint64
	time  time.Duration

	mu     sync.Mutex
	read   state // of the file as it was last read
	place  *starlark.Function
	err    error // why there is no place
	failed map[string]bool
	nodes  roster
}

// A state tells whether a file is as it was.
type state struct {
	size int64
	mod  time.Time
}

// Load returns the policy in a file, which must be good to begin with.
func Load(file string) (*Script, error) {
	s := &Script{file: file, steps: maxSteps, time: maxTime}
	s.refresh()
	return s, s.err
}

// Name returns the name of the file.
func (s *Script) Name() string { return filepath.Base(s.file) }

// Pick asks the script. It logs each distinct failure once.
func (s *Script) Pick(nodes []cloud.Candidate, want cloud.Need) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	at, err := 0, s.err
	if err == nil {
		at, err = s.pick(nodes, want)
	}
	if err != nil && !errors.Is(err, cloud.ErrNowhere) && len(s.failed) < maxFailures && !s.failed[err.Error()] {
		s.failed[err.Error()] = true
		slog.Error("placement policy fails; the default one stands in", "policy", s.file, "err", err)
	}
	return at, err
}

// refresh reads the file when it is not what was read.
func (s *Script) refresh() {
	info, err := os.Stat(s.file)
	if err != nil {
		s.place, s.err, s.read = nil, err, state{}
		return
	}
	now := state{info.Size(), info.ModTime()}
	if now == s.read {
		return
	}
	s.place, s.err = s.load()
	s.read, s.failed = now, map[string]bool{}
}

func (s *Script) load() (*starlark.Function, error) {
	f, err := os.Open(s.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	source, err := io.ReadAll(io.LimitReader(f, maxSource+1))
	if err != nil {
		return nil, err
	}
	if len(source) > maxSource {
		return nil, fmt.Errorf("%s is larger than %d bytes", s.file, maxSource)
	}
	var globals starlark.StringDict
	err = s.bounded(func(t *starlark.Thread) (err error) {
		globals, err = starlark.ExecFileOptions(&syntax.FileOptions{}, t, s.file, source, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	globals.Freeze()
	place, ok := globals["place"].(*starlark.Function)
	if !ok || place.NumParams() != 2 {
		return nil, fmt.Errorf("%s does not define place(need, nodes)", s.file)
	}
	return place, nil
}

func (s *Script) pick(nodes []cloud.Candidate, want cloud.Need) (int, error) {
	var got starlark.Value
	args := starlark.Tuple{needValue{Need: &want}, s.nodes.of(nodes)}
	defer clear(s.nodes.nodes[:len(nodes)])
	err := s.bounded(func(t *starlark.Thread) (err error) {
		got, err = starlark.Call(t, s.place, args, nil)
		return err
	})
	if err != nil {
		return 0, s.where(err)
	}
	switch name := got.(type) {
	case starlark.NoneType:
		return 0, cloud.ErrNowhere
	case starlark.String:
		at, ok := slices.BinarySearchFunc(nodes, string(name), func(c cloud.Candidate, name string) int { return strings.Compare(c.Node.Name, name) })
		if !ok {
			return 0, fmt.Errorf("place returned %s, which is none of the nodes on which it fits", name)
		}
		return at, nil
	}
	return 0, fmt.Errorf("place returned a %s, not a node's name or None", got.Type())
}

// where adds to a failure the line of the file that it came from.
func (s *Script) where(err error) error {
	if e, ok := errors.AsType[*starlark.EvalError](err); ok {
		for i := range e.CallStack {
			if pos := e.CallStack.At(i).Pos; pos.Filename() == s.file {
				return fmt.Errorf("line %d: %w", pos.Line, err)
			}
		}
	}
	return err
}

// bounded calls f with a thread that cannot load, print or go on for ever.
func (s *Script) bounded(f func(*starlark.Thread) error) error {
	t := &starlark.Thread{Name: s.Name(), Print: func(*starlark.Thread, string) {}}
	t.SetMaxExecutionSteps(s.steps)
	timer := time.AfterFunc(s.time, func() { t.Cancel(fmt.Sprintf("longer than %s", s.time)) })
	defer timer.Stop()
	return f(t)
}
