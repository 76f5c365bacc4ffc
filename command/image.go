package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"eucad/api/admin"
)

func imageCommand() *cli.Command {
	return &cli.Command{
		Name:  "image",
		Usage: "bring disk images into the cloud",
		Subcommands: []*cli.Command{{
			Name:      "import",
			Usage:     "make an AMI of a disk image: qcow2, raw, vmdk, vhd or vhdx, compressed (gz, xz, zst, bz2) or not",
			ArgsUsage: "FILE|URL",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "name", Usage: "name of the image", Required: true},
				&cli.StringFlag{Name: "description", Usage: "one line about it"},
				&cli.StringFlag{Name: "account", Value: "admin", Usage: "whose it will be"},
				&cli.StringFlag{Name: "kind", Value: "machine", Usage: "machine, or kernel or ramdisk (kept as they are)"},
				&cli.StringFlag{Name: "kernel", Usage: "boot by this kernel image (aki-…)"},
				&cli.StringFlag{Name: "ramdisk", Usage: "with this ramdisk image (ari-…)"},
				&cli.StringFlag{Name: "arch", Value: "x86_64", Usage: "architecture"},
				&cli.BoolFlag{Name: "uefi", Usage: "boots by UEFI, not BIOS"},
				&cli.BoolFlag{Name: "public", Usage: "every account may launch it"},
				jsonFlag,
			},
			Action: importImage,
		}},
	}
}

func importImage(c *cli.Context) error {
	name, err := argument(c)
	if err != nil {
		return err
	}
	src, size, err := openSource(c, name)
	if err != nil {
		return err
	}
	defer src.Close()
	q := url.Values{"size": {strconv.FormatInt(size, 10)}}
	for _, f := range []string{"name", "description", "account", "kind", "kernel", "ramdisk", "arch"} {
		q.Set(f, c.String(f))
	}
	for _, f := range []string{"uefi", "public"} {
		q.Set(f, strconv.FormatBool(c.Bool(f)))
	}
	bars := &bars{quiet: c.Bool("json") || !term.IsTerminal(int(os.Stderr.Fd()))}
	body, err := newClient(dir(c)).do(c.Context, "POST", "/images?"+q.Encode(), src, size)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		var p admin.Progress
		if err := lines.Decode(&p); err != nil {
			return fmt.Errorf("import broke off: %w", err)
		}
		switch {
		case p.Error != nil:
			return p.Error
		case p.Image == nil:
			bars.show(p)
			continue
		}
		bars.end()
		if c.Bool("json") {
			return printJSON(c, p.Image)
		}
		fmt.Fprintln(c.App.Writer, p.Image.ID)
		return nil
	}
}

// openSource opens a file or URL and tells its size, or -1.
func openSource(c *cli.Context, name string) (io.ReadCloser, int64, error) {
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		r, err := http.NewRequestWithContext(c.Context, "GET", name, nil)
		if err != nil {
			return nil, 0, err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, 0, err
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, 0, fmt.Errorf("%s: %s", name, resp.Status)
		}
		return resp.Body, resp.ContentLength, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// bars shows the steps of an import, one progress bar each.
type bars struct {
	quiet bool
	step  string
	bar   *progressbar.ProgressBar
}

func (b *bars) show(p admin.Progress) {
	if b.quiet {
		return
	}
	if p.Step != b.step {
		b.end()
		b.step = p.Step
		b.bar = progressbar.NewOptions64(p.Total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(p.Step),
			progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
	}
	b.bar.Set64(p.Done)
}

func (b *bars) end() {
	if b.bar != nil {
		b.bar.Finish()
		b.bar = nil
	}
}
