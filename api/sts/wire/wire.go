// Package wire holds the requests and answers of the STS actions that eucad
// serves, generated from AWS's Go SDK.
package wire

//go:generate go -C ../../../scripts/genwire run . generate -model model/sts.json -actions actions.txt -tweaks tweaks.txt -o ../../api/sts/wire
