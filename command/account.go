package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"eucad/api/admin"
	"eucad/store/cloud"
	"eucad/store/file"
)

var jsonFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON"}

func accountCommand() *cli.Command {
	return &cli.Command{
		Name:  "account",
		Usage: "create, list and delete accounts",
		Subcommands: []*cli.Command{
			{Name: "create", Usage: "make an account with keys and a default VPC", ArgsUsage: "NAME", Flags: []cli.Flag{jsonFlag}, Action: createAccount},
			{Name: "list", Usage: "list accounts", Flags: []cli.Flag{jsonFlag}, Action: listAccounts},
			{Name: "delete", Usage: "remove an account and everything it owns, running instances too", ArgsUsage: "NAME|ID", Flags: []cli.Flag{jsonFlag}, Action: deleteAccount},
		},
	}
}

// argument returns the single argument of a command.
func argument(c *cli.Context) (string, error) {
	if c.NArg() != 1 {
		return "", fmt.Errorf("usage: %s [options] %s", c.Command.HelpName, c.Command.ArgsUsage)
	}
	return c.Args().First(), nil
}

func createAccount(c *cli.Context) error {
	name, err := argument(c)
	if err != nil {
		return err
	}
	var cr admin.Credentials
	if err := newClient(dir(c)).call(c.Context, "POST", "/accounts/"+url.PathEscape(name), &cr); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, cr)
	}
	fmt.Fprintf(c.App.Writer, "account %s has the id %s and the default VPC %s\n\n%s", cr.Name, cr.Account, cr.VpcID, profile(cr))
	return nil
}

func listAccounts(c *cli.Context) error {
	var all []cloud.Account
	if err := newClient(dir(c)).call(c.Context, "GET", "/accounts", &all); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, all)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tCREATED")
	for _, a := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", a.ID, a.Name, a.Created.Format("2006-01-02 15:04"))
	}
	return w.Flush()
}

func deleteAccount(c *cli.Context) error {
	name, err := argument(c)
	if err != nil {
		return err
	}
	var a cloud.Account
	if err := newClient(dir(c)).call(c.Context, "DELETE", "/accounts/"+url.PathEscape(name), &a); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, a)
	}
	fmt.Fprintf(c.App.Writer, "account %s (%s) is gone, with all it owned\n", a.Name, a.ID)
	return nil
}

func printJSON(c *cli.Context, v any) error {
	e := json.NewEncoder(c.App.Writer)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func credentialsCommand() *cli.Command {
	return &cli.Command{
		Name:  "credentials",
		Usage: "print or write what AWS clients need to reach this cloud",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "account", Value: "admin", Usage: "name or id of the account"},
			&cli.StringFlag{Name: "profile", Value: "eucad", Usage: "name of the profile to write"},
			&cli.BoolFlag{Name: "write", Usage: "write the profile to ~/.aws/config"},
			&cli.BoolFlag{Name: "env", Usage: "print shell variables: eval \"$(eucad credentials --env)\""},
			jsonFlag,
		},
		Action: credentials,
	}
}

func credentials(c *cli.Context) error {
	var cr admin.Credentials
	if err := newClient(dir(c)).call(c.Context, "GET", "/accounts/"+url.PathEscape(c.String("account"))+"/credentials", &cr); err != nil {
		return err
	}
	switch out := c.App.Writer; {
	case c.Bool("json"):
		return printJSON(c, cr)
	case c.Bool("env"):
		fmt.Fprintf(out, "export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\nexport AWS_DEFAULT_REGION=%s\nexport AWS_ENDPOINT_URL=%s\n",
			cr.AccessKeyID, cr.SecretAccessKey, cr.Region, cr.Endpoint)
	case c.Bool("write"):
		name, err := writeProfile(c.String("profile"), profileText(c.String("profile"), cr))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "profile %s is in %s; use it with: aws --profile %s ec2 describe-instances\n", c.String("profile"), name, c.String("profile"))
	default:
		fmt.Fprint(out, profileText(c.String("profile"), cr))
	}
	return nil
}

func profile(cr admin.Credentials) string { return profileText(cr.Name, cr) }

// profileText is a section of ~/.aws/config (AWS CLI docs: "Configuration and
// credential file settings"; endpoint_url is read by CLI 2.13 and boto3 1.28 on).
func profileText(name string, cr admin.Credentials) string {
	return fmt.Sprintf("%s\nregion = %s\nendpoint_url = %s\naws_access_key_id = %s\naws_secret_access_key = %s\noutput = json\n",
		profileHead(name), cr.Region, cr.Endpoint, cr.AccessKeyID, cr.SecretAccessKey)
}

// profileHead is the first line of a profile's section.
func profileHead(name string) string {
	switch {
	case name == "default": // the only one that is not called a profile
		return "[default]"
	case strings.ContainsAny(name, " \t"):
		return "[profile '" + name + "']"
	}
	return "[profile " + name + "]"
}

// writeProfile puts the profile in the user's AWS configuration, in place of
// an earlier one of that name. Everything else in the file stays.
func writeProfile(profile, text string) (string, error) {
	name := os.Getenv("AWS_CONFIG_FILE")
	if name == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		name = filepath.Join(home, ".aws", "config")
	}
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", err
	}
	return name, file.Write(name, []byte(replaceSection(string(old), profileHead(profile), text)))
}

// replaceSection returns the INI file text with the section head replaced, or added at the end.
func replaceSection(text, head, section string) string {
	var out strings.Builder
	skip, done := false, false
	for line := range strings.Lines(text) {
		if t := strings.TrimSpace(line); strings.HasPrefix(t, "[") {
			if skip = t == head; skip && !done {
				out.WriteString(section + "\n")
				done = true
			}
		}
		if !skip {
			out.WriteString(line)
		}
	}
	if !done {
		if s := out.String(); s != "" && !strings.HasSuffix(s, "\n\n") {
			out.WriteString("\n")
		}
		out.WriteString(section)
	}
	return out.String()
}
