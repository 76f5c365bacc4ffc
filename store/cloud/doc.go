// Package cloud is the vocabulary of eucad: the nouns of EC2, their states and
// legal moves, ids and faults. It does no I/O and imports nothing of ours.
package cloud
