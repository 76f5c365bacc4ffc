package command

import (
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"eucad/api/admin"
)

func nodeCommand() *cli.Command {
	return &cli.Command{
		Name:  "node",
		Usage: "list nodes, and say which take instances",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list nodes with what they have and what is used of it", Flags: []cli.Flag{jsonFlag}, Action: listNodes},
			{Name: "cordon", Usage: "place no more instances on a node; those it has stay", ArgsUsage: "NAME", Flags: []cli.Flag{jsonFlag}, Action: cordonNode},
			{Name: "uncordon", Usage: "place instances on a node again", ArgsUsage: "NAME", Flags: []cli.Flag{jsonFlag}, Action: cordonNode},
			{
				Name: "drain", Usage: "cordon a node, and list the instances that keep it in use: their disks are there", ArgsUsage: "NAME",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "stop", Usage: "stop them"}, jsonFlag},
				Action: drainNode,
			},
			{Name: "remove", Usage: "let a host with nothing on it, or the head of a zone, out of the cloud", ArgsUsage: "NAME", Action: removeNode},
		},
	}
}

func listNodes(c *cli.Context) error {
	var all []admin.Node
	if err := newClient(dir(c)).call(c.Context, "GET", "/nodes", &all); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, all)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tZONE\tKIND\tARCH\tINSTANCES\tCPUS\tMEMORY MIB\tDISK GIB\tHEARD\tVERSION\tSTATE")
	for _, n := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d/%d\t%d/%d\t%d/%d\t%s\t%s\t%s\n", n.Name, n.Zone, n.Kind, n.Arch, n.Instances,
			n.Used.CPUs, n.Capacity.CPUs, n.Used.MemoryMiB, n.Capacity.MemoryMiB, n.Used.DiskGiB, n.Capacity.DiskGiB,
			ago(n.Heard), orDash(n.Version), nodeState(n))
	}
	return w.Flush()
}

func nodeState(n admin.Node) string {
	var all []string
	for _, s := range []struct {
		is   bool
		name string
	}{{n.Lost, "lost"}, {n.Cordoned, "cordoned"}, {n.MaySleep, "may sleep"}} {
		if s.is {
			all = append(all, s.name)
		}
	}
	if len(all) == 0 {
		return "in service"
	}
	return strings.Join(all, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// ago says how long t is past, to the second.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return max(time.Since(t).Truncate(time.Second), 0).String() + " ago"
}

// cordonNode serves cordon and uncordon.
func cordonNode(c *cli.Context) error {
	name, err := argument(c)
	if err != nil {
		return err
	}
	var n admin.Node
	if err := newClient(dir(c)).call(c.Context, "POST", "/nodes/"+url.PathEscape(name)+"/"+c.Command.Name, &n); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, n)
	}
	takes := "takes instances again"
	if n.Cordoned {
		takes = fmt.Sprintf("takes no more instances; it keeps its %d", n.Instances)
	}
	fmt.Fprintf(c.App.Writer, "node %s %s\n", n.Name, takes)
	return nil
}
