// Command wire is a cable between two taps of a network namespace, which it
// makes: it delays frames and loses some. scripts/lab puts it into links, for
// netem, which does the same, is not in every kernel.
//
//	wire TAP TAP DELAY PERCENT
package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"time"

	"eucad/net/link"
)

const (
	maxFrame = 64 << 10 // more than any MTU
	maxQueue = 10_000   // frames on their way in one direction; more are lost, as in a switch
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: wire TAP TAP DELAY PERCENT, not %q", args)
	}
	delay, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	loss, err := strconv.ParseFloat(args[3], 64)
	if err != nil {
		return err
	}
	var ends [2]*os.File
	for n := range ends {
		if ends[n], err = link.OpenTap(args[n]); err != nil {
			return err
		}
	}
	done := make(chan error)
	go func() { done <- carry(ends[0], ends[1], delay, loss) }()
	go func() { done <- carry(ends[1], ends[0], delay, loss) }()
	return <-done
}

type frame struct {
	due   time.Time
	bytes []byte
}

// carry moves frames one way, until an end is gone. A frame takes delay, and
// is lost with the probability of loss percent.
func carry(from, to *os.File, delay time.Duration, loss float64) error {
	queue := make(chan frame, maxQueue)
	failed := make(chan error, 1)
	go func() {
		for f := range queue {
			time.Sleep(time.Until(f.due))
			if _, err := to.Write(f.bytes); err != nil && !errors.Is(err, syscall.EIO) { // EIO: the far tap is down
				failed <- err
				return
			}
		}
	}()
	buf := make([]byte, maxFrame)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return err
		}
		if rand.Float64()*100 < loss {
			continue
		}
		select {
		case queue <- frame{time.Now().Add(delay), bytes.Clone(buf[:n])}:
		case err := <-failed:
			return err
		default:
		}
	}
}
