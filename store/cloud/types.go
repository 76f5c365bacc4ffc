package cloud

// Types is the table of instance types.
type Types struct {
	byName map[string]Type
	names  []string // sorted
}

// A Type is an instance type: what its instances get.
type Type struct {
	Name      string
	CPUs      int
	MemoryMiB int
	Arch      string // "x86_64"
	Burstable bool
	Current   bool // of the current generation
}
