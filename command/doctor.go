package command

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"eucad/roles"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "look at this host, and say what is broken and the mend",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "libvirt", Usage: "libvirtd's socket (default: where libvirt has it)"},
			jsonFlag,
		},
		Action: func(c *cli.Context) error {
			cfg := roles.Default()
			cfg.Dir, cfg.Libvirt = dir(c), c.String("libvirt")
			found := roles.Doctor(c.Context, cfg)
			if c.Bool("json") {
				return printJSON(c, found)
			}
			ill := 0
			for _, f := range found {
				if f.Well {
					fmt.Fprintln(c.App.Writer, "well ", f.What)
					continue
				}
				ill++
				fmt.Fprintf(c.App.Writer, "ILL   %s\n      mend: %s\n", f.What, f.Mend)
			}
			if ill > 0 {
				return errors.New("not all is well")
			}
			return nil
		},
	}
}
