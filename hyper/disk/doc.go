// Package disk inspects, imports and caches disk images that others made.
//
// An image is trusted with nothing: its header is read by this package within
// bounds, what could lead elsewhere (a backing file, an external data file) is
// refused before qemu-img opens it, qemu-img is always told the format, and it
// runs with bounded memory and time.
package disk
