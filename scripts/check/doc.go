// Package check holds tests of the source itself: who imports whom, how large
// files are, whether what is generated is fresh.
package check
