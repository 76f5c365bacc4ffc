package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What qemu-img may take for a file that others made.
const (
	qemuMemory = 2 << 30 // address space: QEMU's threads take much and use little
	qemuTime   = 2 * time.Hour
	qemuStderr = 4 << 10
)

// qemuSource names an image for qemu-img: with its format, and without the
// files it may want to have opened too.
func qemuSource(name, format string) string {
	m := map[string]any{"driver": format, "backing": nil, "file": map[string]string{"driver": "file", "filename": name}}
	if format == "vpc" {
		// Else QEMU believes the cylinders, heads and sectors of most tools'
		// images, which leave out the last sectors of the disk.
		m["force_size_calc"] = "current_size"
	}
	b, _ := json.Marshal(m) // of strings
	return "json:" + string(b)
}

// qemuCheck lets QEMU look for what the headers don't show.
func qemuCheck(ctx context.Context, dir, name, format string) error {
	err := qemuImg(ctx, dir, 0, nil, "check", "-q", "--", qemuSource(name, format))
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if code := exit.ExitCode(); code == 3 || code == 63 {
		return nil // see qemu-img(1): space is wasted; the format has no checks
	}
	if _, reason, ok := strings.Cut(err.Error(), "}': "); ok { // Could not open 'json:{…}': reason
		return badf("QEMU cannot open the %s image (%s).", format, strings.TrimSuffix(reason, "."))
	}
	return badf("The %s image is damaged or was cut off: see qemu-img check.", format)
}

// qemuConvert makes the qcow2 out of the image in, both in dir. It has at most
// maxBytes.
func qemuConvert(ctx context.Context, dir, in, format, out string, maxBytes int64, percent func(float64)) error {
	err := qemuImg(ctx, dir, maxBytes, percent, "convert", "-p", "-O", "qcow2", "--", qemuSource(in, format), out)
	var exit *exec.ExitError
	if errors.As(err, &exit) && strings.Contains(err.Error(), "while reading") {
		return badf("The %s image is damaged or was cut off: QEMU cannot read all of it.", format)
	}
	return err
}

// qemuImg runs qemu-img in dir, within bounds. It fails with ErrBadImage when
// the image asked for more, and with an *exec.ExitError when qemu-img said no.
func qemuImg(ctx context.Context, dir string, maxFile int64, percent func(float64), args ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, qemuTime, fmt.Errorf("qemu-img %s took longer than %v", args[0], qemuTime))
	defer cancel()
	qemu, err := exec.LookPath("qemu-img")
	if err != nil {
		return err
	}
	// prlimit(1) rather than prlimit(2) on a child that runs already.
	seconds := int64(qemuTime / time.Second)
	cmd := exec.CommandContext(ctx, "prlimit", append([]string{
		"--core=0", fmt.Sprintf("--as=%d", qemuMemory), fmt.Sprintf("--cpu=%d:%d", seconds, seconds+5), fmt.Sprintf("--fsize=%d", maxFile), "--", qemu,
	}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "LC_ALL=C") // its messages are read here
	stderr := beginning{max: qemuStderr}
	cmd.Stderr = &stderr
	if percent != nil {
		cmd.Stdout = progressWriter(percent)
	}
	cmd.WaitDelay = 5 * time.Second
	// It dies with the thread that started it, which must not end before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return qemuError(args[0], err, stderr.String())
}

// qemuError tells what was wrong with the image from what is wrong here.
func qemuError(verb string, err error, stderr string) error {
	text, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(stderr), "qemu-img: "), "\n")
	var exit *exec.ExitError
	tooMuch := badf("The image has more content than may be kept.")
	switch {
	case strings.Contains(stderr, "No space left on device"):
		return fmt.Errorf("qemu-img %s: %w", verb, syscall.ENOSPC)
	case strings.Contains(stderr, "File too large"): // where SIGXFSZ is ignored
		return tooMuch
	}
	if errors.As(err, &exit) {
		switch exit.Sys().(syscall.WaitStatus).Signal() {
		case syscall.SIGXFSZ:
			return tooMuch
		case syscall.SIGXCPU:
			return badf("The image takes more than %v to convert.", qemuTime)
		case syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGBUS:
			return badf("The image makes qemu-img crash, or takes more memory than it may have.")
		}
	}
	return fmt.Errorf("qemu-img %s: %w: %s", verb, err, text)
}

// progressWriter calls f with the last percentage of what qemu-img -p writes:
// "    (12.34/100%)\r".
type progressWriter func(percent float64)

func (f progressWriter) Write(b []byte) (int, error) {
	if end := bytes.LastIndex(b, []byte("/100%)")); end >= 0 {
		start := bytes.LastIndexByte(b[:end], '(') + 1
		if p, err := strconv.ParseFloat(string(b[start:end]), 64); err == nil {
			f(p)
		}
	}
	return len(b), nil
}

// A beginning keeps the first bytes of what is written to it.
type beginning struct {
	bytes.Buffer
	max int
}

func (k *beginning) Write(b []byte) (int, error) {
	k.Buffer.Write(b[:min(len(b), k.max-k.Len())])
	return len(b), nil
}
