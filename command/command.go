// Package command is the command line of eucad: flags, help, and the client
// of the administrators' API.
package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"eucad/roles"
)

// Run runs the command line args, of which the first is the program's name,
// and writes to out.
func Run(ctx context.Context, args []string, out io.Writer) error {
	app := newApp(out)
	return app.RunContext(ctx, optionsFirst(app, args))
}

func newApp(out io.Writer) *cli.App {
	app := &cli.App{
		Name:            "eucad",
		Usage:           "an Amazon EC2 of your own, on the machines you have",
		UsageText:       "eucad --role all [options]\neucad COMMAND [options] [arguments]",
		HideHelpCommand: true,
		Writer:          out,
		Flags:           append([]cli.Flag{dirFlag}, serveFlags()...),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("there is no command %q; eucad --help lists them", c.Args().First())
			}
			if !c.IsSet("role") {
				return cli.ShowAppHelp(c)
			}
			return serve(c)
		},
		Commands: []*cli.Command{accountCommand(), credentialsCommand(), doctorCommand(), explainCommand(), imageCommand(), membersCommand(), nodeCommand(), purgeCommand(), tokenCommand()},
	}
	addDir(app.Commands)
	return app
}

// addDir lets --dir stand behind any command.
func addDir(commands []*cli.Command) {
	for _, c := range commands {
		if addDir(c.Subcommands); len(c.Subcommands) == 0 {
			c.Flags = append(c.Flags, dirFlag)
		}
		c.HideHelpCommand = true
	}
}

// optionsFirst returns args with the options of the command moved before its
// arguments: the cli package wants them there, people do not.
func optionsFirst(app *cli.App, args []string) []string {
	flags, commands := app.Flags, app.Commands
	at := 1
	for at < len(args) && len(commands) > 0 { // find the command
		if strings.HasPrefix(args[at], "-") {
			at += width(flags, args[at])
			continue
		}
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[at]) })
		if i < 0 {
			return args
		}
		flags, commands = commands[i].Flags, commands[i].Subcommands
		at++
	}
	if at >= len(args) {
		return args
	}
	var options, rest []string
	for n := 0; at < len(args); at += n {
		switch n = 1; {
		case args[at] == "--":
			return slices.Concat(args[:len(args)-len(rest)-len(options)-(len(args)-at)], options, args[at:at+1], rest, args[at+1:])
		case strings.HasPrefix(args[at], "-") && args[at] != "-":
			n = min(width(flags, args[at]), len(args)-at)
			options = append(options, args[at:at+n]...)
		default:
			rest = append(rest, args[at])
		}
	}
	return slices.Concat(args[:len(args)-len(rest)-len(options)], options, rest)
}

// width returns how many arguments an option takes up: two when its value follows it.
func width(flags []cli.Flag, option string) int {
	name := strings.TrimLeft(option, "-")
	for _, f := range flags {
		if _, isBool := f.(*cli.BoolFlag); !isBool && slices.Contains(f.Names(), name) {
			return 2
		}
	}
	return 1
}

var dirFlag = &cli.StringFlag{Name: "dir", Value: "/var/lib/eucad", Usage: "where this host keeps its state", EnvVars: []string{"EUCAD_DIR"}}

// dir returns the --dir that was given anywhere on the command line.
func dir(c *cli.Context) string {
	for _, p := range c.Lineage() {
		if p.IsSet("dir") {
			return p.String("dir")
		}
	}
	return dirFlag.Value
}

func serve(c *cli.Context) error {
	cfg, err := config(c)
	if err != nil {
		return err
	}
	return roles.Run(c.Context, cfg)
}
