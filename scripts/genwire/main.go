// Genwire makes the wire types of the Query APIs from AWS's Go SDK.
//
// It works in two steps, so that the second one needs no network:
//
//	genwire extract -module github.com/aws/aws-sdk-go-v2/service/ec2@v1.344.1 -o model/ec2.json
//	genwire generate -model model/ec2.json -actions actions.txt -tweaks tweaks.txt -o ../../api/ec2/wire
//
// Extract reads the SDK's generated client with go/ast and writes the names and
// types of its API as a model. It is run by hand when the SDK moves on; the
// model is checked in. Generate writes Go structs, decoders and encoders for the
// listed actions and runs as part of go generate.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "genwire:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say extract or generate")
	}
	fs := flag.NewFlagSet(args[0], flag.ExitOnError)
	switch args[0] {
	case "extract":
		module := fs.String("module", "", "SDK service module, `path@version`")
		out := fs.String("o", "", "model `file` to write")
		fs.Parse(args[1:])
		m, err := extract(*module)
		if err != nil {
			return fmt.Errorf("extract %s: %w", *module, err)
		}
		return m.save(*out)
	case "generate":
		model := fs.String("model", "", "model `file` to read")
		actions := fs.String("actions", "", "`file` that lists the actions to serve, one a line")
		tweaks := fs.String("tweaks", "", "`file` of orders and exceptions (see its head)")
		out := fs.String("o", "", "package `folder` to write")
		fs.Parse(args[1:])
		m, err := loadModel(*model)
		if err != nil {
			return err
		}
		names, err := readLines(*actions)
		if err != nil {
			return err
		}
		tw, err := readTweaks(*tweaks)
		if err != nil {
			return err
		}
		return generate(m, names, tw, *out)
	}
	return fmt.Errorf("unknown command %q: say extract or generate", args[0])
}
