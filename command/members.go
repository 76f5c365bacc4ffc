package command

import (
	"fmt"
	"net/url"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"eucad/api/admin"
)

func membersCommand() *cli.Command {
	return &cli.Command{
		Name:  "members",
		Usage: "list the hosts that gossip sees: front ends, heads, and nodes of the front end's own zone",
		Flags: []cli.Flag{jsonFlag},
		Action: func(c *cli.Context) error {
			var all []admin.Member
			if err := newClient(dir(c)).call(c.Context, "GET", "/members", &all); err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c, all)
			}
			w := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "ROLE\tNAME\tZONE\tADDRESS\tVERSION")
			for _, m := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Role, m.Name, orDash(m.Zone), m.Address, m.Version)
			}
			return w.Flush()
		},
	}
}

// drainNode cordons a node and tells what still keeps it in use.
func drainNode(c *cli.Context) error {
	name, err := argument(c)
	if err != nil {
		return err
	}
	path := "/nodes/" + url.PathEscape(name) + "/drain"
	if c.Bool("stop") {
		path += "?stop=true"
	}
	var left []admin.Resident
	if err := newClient(dir(c)).call(c.Context, "POST", path, &left); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, left)
	}
	if len(left) == 0 {
		fmt.Fprintf(c.App.Writer, "nothing is on node %s any more: eucad node remove %s\n", name, name)
		return nil
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "INSTANCE\tACCOUNT\tSTATE")
	for _, r := range left {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Instance, r.Account, r.State)
	}
	return w.Flush()
}

func removeNode(c *cli.Context) error {
	name, err := argument(c)
	if err != nil {
		return err
	}
	var n admin.Member
	if err := newClient(dir(c)).call(c.Context, "DELETE", "/nodes/"+url.PathEscape(name), &n); err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s belongs to the cloud no more; eucad purge --yes on it takes away what it has\n", name)
	return nil
}
