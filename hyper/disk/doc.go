// Package disk inspects, imports and caches disk images that others made.
//
// An image is trusted with nothing: its header is read by this package within
// bounds, what could lead elsewhere (a backing file, an external data file) is
// refused before qemu-img opens it, qemu-img is always told the format, and it
// runs with bounded memory and time. What is kept is a qcow2 of our own making,
// named by its hash: a Store has all of them, a Cache those a node needs.
package disk
