package command

import (
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"eucad/api/admin"
)

func explainCommand() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "tell how an instance was launched: each phase, why on its node, and why on no other",
		ArgsUsage: "INSTANCE",
		Flags:     []cli.Flag{jsonFlag},
		Action:    explain,
	}
}

func explain(c *cli.Context) error {
	id, err := argument(c)
	if err != nil {
		return err
	}
	var e admin.Explanation
	if err := newClient(dir(c)).call(c.Context, "GET", "/instances/"+url.PathEscape(id)+"/explain", &e); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, e)
	}
	out := c.App.Writer
	fmt.Fprintf(out, "%s (%s) of account %s is %s on node %s in %s\n", e.Instance, e.Type, e.Account, e.State, e.Node, e.Zone)
	if e.Reason != "" {
		fmt.Fprintln(out, e.Reason)
	}
	for _, s := range e.Starts {
		if err := printStart(out, s); err != nil {
			return err
		}
	}
	return nil
}

func printStart(out io.Writer, s admin.Start) error {
	fmt.Fprintf(out, "\nStart %d began at %s\n", s.Boot, s.Began.Format("2006-01-02 15:04:05.000 MST"))
	fmt.Fprintf(out, "%10s  %10s  %s\n", "AT MS", "TOOK MS", "PHASE")
	for _, t := range s.Timeline {
		at := ""
		if t.AtMS != nil {
			at = fmt.Sprintf("%.1f", *t.AtMS)
		}
		fmt.Fprintf(out, "%10s  %10.1f  %s", at, t.MS, t.Phase)
		if t.Text != "" {
			fmt.Fprintf(out, " %s", t.Text)
		}
		fmt.Fprintln(out)
	}
	p := s.Placement
	if p == nil {
		return nil
	}
	by := ""
	if p.Policy != "" {
		by = " (policy " + p.Policy + ")"
	}
	fmt.Fprintf(out, "Node %s %s%s\n", p.Node, p.Why, by)
	if p.Failure != "" {
		fmt.Fprintf(out, "for the site's policy failed: %s\n", p.Failure)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, o := range p.Others {
		fmt.Fprintf(w, "  %s\t%s\n", o.Node, o.Why)
	}
	for _, r := range p.Rest {
		fmt.Fprintf(w, "  %d more\t%s\n", r.Nodes, r.Why)
	}
	return w.Flush()
}
