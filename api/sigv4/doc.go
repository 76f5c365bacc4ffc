// Package sigv4 checks the signatures of AWS requests: version 4 in a header
// or in the query (presigned), and version 2 for old tools.
package sigv4
