package fabric

import "eucad/net/link"

// NewHost is New for one of several hosts of a process: it has the network of
// ns, and its routers' namespaces have names that begin with the prefix.
func NewHost(o Options, ns *link.NS, prefix string) (*Fabric, error) {
	var own *link.NS // the Fabric closes it
	err := ns.Do(func() (err error) { own, err = link.Here(); return err })
	if err != nil {
		return nil, err
	}
	return newFabric(o, own, prefix)
}
