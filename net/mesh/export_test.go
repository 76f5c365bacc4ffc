package mesh

// InUserSpace makes a fresh m do without the kernel's WireGuard.
func (m *Mesh) InUserSpace() { m.user = true }
