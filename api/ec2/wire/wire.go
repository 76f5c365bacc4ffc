// Package wire holds the requests and answers of the EC2 actions that eucad
// serves, with the decoders and encoders of the Query protocol. All but this
// file is generated from AWS's Go SDK.
//
// Members that are optional are pointers: absent differs from zero. Lists right
// in an answer are written even when they are empty; a list deeper in it is
// written when it is not nil. scripts/genwire/tweaks.txt has exceptions to both.
package wire

import "eucad/api/query"

//go:generate go -C ../../../scripts/genwire run . generate -model model/ec2.json -actions actions.txt -tweaks tweaks.txt -o ../../api/ec2/wire

// Filters turns the filters of a request into those that query.Compile takes.
func Filters(in []Filter) []query.Filter {
	out := make([]query.Filter, len(in))
	for i, f := range in {
		out[i] = query.Filter{Name: query.Val(f.Name), Values: f.Values}
	}
	return out
}
