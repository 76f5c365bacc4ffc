// Eucad turns Linux machines into an elastic cloud that speaks Amazon EC2's API.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"eucad/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command.Run(ctx, os.Args, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "eucad:", err)
		os.Exit(1)
	}
}
