package fabric

import "eucad/net/link"

// NewHost is New for one of several hosts of a process: it has the network of
// ns, and its routers' namespaces have names that begin with the prefix.
func NewHost(o Options, ns *link.NS, prefix string) (f *Fabric, err error) {
	err = ns.Do(func() (err error) { f, err = newFabric(o, prefix); return err })
	return f, err
}
