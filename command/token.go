package command

import (
	"fmt"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"eucad/api/admin"
	"eucad/store/cloud"
)

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "let other hosts join the cloud",
		Subcommands: []*cli.Command{
			{
				Name:  "create",
				Usage: "print a token by which one host joins: eucad --role ROLE --join HOST:8774 --token TOKEN",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "role", Value: "node", Usage: "what the host will be: node, or cluster (the head of a zone)"},
					&cli.StringFlag{Name: "zone", Required: true, Usage: "availability zone it will be in"},
					&cli.StringFlag{Name: "name", Usage: "a host that was removed, which is welcome again"},
					&cli.DurationFlag{Name: "life", Value: 24 * time.Hour, Usage: "how long the token is good"},
					jsonFlag,
				},
				Action: createToken,
			},
			{Name: "list", Usage: "list tokens and who used them", Flags: []cli.Flag{jsonFlag}, Action: listTokens},
			{Name: "revoke", Usage: "take back a token that was not used", ArgsUsage: "ID", Action: revokeToken},
		},
	}
}

func createToken(c *cli.Context) error {
	q := url.Values{"role": {c.String("role")}, "zone": {c.String("zone")}, "life": {c.Duration("life").String()}, "name": {c.String("name")}}
	var t admin.Token
	if err := newClient(dir(c)).call(c.Context, "POST", "/tokens?"+q.Encode(), &t); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, t)
	}
	fmt.Fprintln(c.App.Writer, t.Token)
	return nil
}

func listTokens(c *cli.Context) error {
	var all []cloud.JoinToken
	if err := newClient(dir(c)).call(c.Context, "GET", "/tokens", &all); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, all)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tROLE\tZONE\tSTATE")
	for _, t := range all {
		state := "good until " + t.Expires.Format("2006-01-02 15:04")
		switch {
		case !t.Revoked.IsZero():
			state = "revoked"
		case !t.Used.IsZero():
			state = "used by " + t.UsedBy
		case time.Now().After(t.Expires):
			state = "expired"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.ID, t.Role, t.Zone, state)
	}
	return w.Flush()
}

func revokeToken(c *cli.Context) error {
	id, err := argument(c)
	if err != nil {
		return err
	}
	var t admin.Token
	return newClient(dir(c)).call(c.Context, "DELETE", "/tokens/"+url.PathEscape(id), &t)
}
