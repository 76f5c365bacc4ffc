package cloud

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// DefaultType is the type of an instance that names none, as on EC2.
const DefaultType = "m1.small"

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

// MaxInterfaces returns how many network interfaces an instance may have. It
// follows EC2's table for general-purpose types ("Maximum IP addresses per
// network interface") by number of CPUs.
func (t Type) MaxInterfaces() int {
	switch {
	case t.CPUs <= 1:
		return 2
	case t.CPUs <= 2:
		return 3
	case t.CPUs <= 8:
		return 4
	case t.CPUs <= 48:
		return 8
	}
	return 15
}

// sized are types that follow no rule: name, CPUs, MiB (EC2's
// DescribeInstanceTypes).
const sized = `
t1.micro 1 627, m1.small 1 1740, m1.medium 1 3788, m1.large 2 7680, m1.xlarge 4 15360,
c1.medium 2 1740, c1.xlarge 8 7168, m2.xlarge 2 17510, m2.2xlarge 4 35020, m2.4xlarge 8 70041, m3.medium 1 3840,
t2.nano 1 512, t2.micro 1 1024, t2.small 1 2048, t2.medium 2 4096,
t3.nano 2 512, t3.micro 2 1024, t3.small 2 2048, t3.medium 2 4096,
t3a.nano 2 512, t3a.micro 2 1024, t3a.small 2 2048, t3a.medium 2 4096,
c4.8xlarge 36 61440`

// families are types that do: large has 2 CPUs, xlarge 4, Nxlarge N times 4,
// and a fixed memory a CPU.
var families = []struct {
	names     string
	mibPerCPU int
	sizes     string
}{
	{"t2 t3 t3a", 4096, "large xlarge 2xlarge"},
	{"m3", 3840, "large xlarge 2xlarge"},
	{"m4", 4096, "large xlarge 2xlarge 4xlarge 10xlarge 16xlarge"},
	{"m5 m5a", 4096, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"},
	{"m6i", 4096, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"},
	{"m7i", 4096, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"},
	{"c4", 1920, "large xlarge 2xlarge 4xlarge"},
	{"c5", 2048, "large xlarge 2xlarge 4xlarge 9xlarge 12xlarge 18xlarge 24xlarge"},
	{"c6i", 2048, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"},
	{"c7i", 2048, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"},
	{"r4", 7808, "large xlarge 2xlarge 4xlarge 8xlarge 16xlarge"},
	{"r5 r5a", 8192, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"},
	{"r6i", 8192, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"},
	{"r7i", 8192, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"},
}

// previous are the families that EC2 calls previous generation.
var previous = []string{"t1", "m1", "m2", "m3", "c1"}

// NewTypes returns EC2's instance types.
func NewTypes() *Types {
	t := &Types{byName: map[string]Type{}}
	for line := range strings.SplitSeq(sized, ",") {
		f := strings.Fields(line)
		cpus, _ := strconv.Atoi(f[1])
		mib, _ := strconv.Atoi(f[2])
		t.add(f[0], cpus, mib)
	}
	for _, f := range families {
		for family := range strings.FieldsSeq(f.names) {
			for size := range strings.FieldsSeq(f.sizes) {
				t.add(family+"."+size, cpusOf(size), cpusOf(size)*f.mibPerCPU)
			}
		}
	}
	t.sort()
	return t
}

// cpusOf returns the CPUs of a size: large, xlarge, Nxlarge.
func cpusOf(size string) int {
	switch n := strings.TrimSuffix(size, "xlarge"); {
	case size == "large":
		return 2
	case n == "":
		return 4
	default:
		i, _ := strconv.Atoi(n)
		return 4 * i
	}
}

func (t *Types) add(name string, cpus, mib int) {
	family, _, _ := strings.Cut(name, ".")
	t.byName[name] = Type{
		Name: name, CPUs: cpus, MemoryMiB: mib, Arch: "x86_64",
		Burstable: strings.HasPrefix(family, "t") && family != "t1",
		Current:   !slices.Contains(previous, family),
	}
}

func (t *Types) sort() {
	t.names = t.names[:0]
	for name := range t.byName {
		t.names = append(t.names, name)
	}
	slices.Sort(t.names)
}

// Get returns the type of this name, and whether there is one.
func (t *Types) Get(name string) (Type, bool) {
	v, ok := t.byName[name]
	return v, ok
}

// All returns the types by name.
func (t *Types) All() []Type {
	out := make([]Type, len(t.names))
	for i, name := range t.names {
		out[i] = t.byName[name]
	}
	return out
}

// maxTypesFile bounds the size of a file of types, in bytes; a type takes about 60.
const maxTypesFile = 1 << 20

// LoadTypes returns EC2's instance types with those of a JSON file added, or
// replaced where they have the same name: [{"Name": "x1.tiny", "CPUs": 1,
// "MemoryMiB": 256, "Arch": "x86_64"}]; Arch may be left out. With file "" there are only EC2's.
func LoadTypes(file string) (*Types, error) {
	t := NewTypes()
	if file == "" {
		return t, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("instance types: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTypesFile+1))
	if err != nil {
		return nil, fmt.Errorf("instance types: %w", err)
	}
	if err := t.extend(b); err != nil {
		return nil, fmt.Errorf("instance types in %s: %w", file, err)
	}
	return t, nil
}

var typeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}\.[a-z0-9][a-z0-9-]{0,31}$`)

// extend adds the types of a JSON list.
func (t *Types) extend(b []byte) error {
	if len(b) > maxTypesFile {
		return fmt.Errorf("larger than %d bytes", maxTypesFile)
	}
	var more []struct {
		Name, Arch      string
		CPUs, MemoryMiB int
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&more); err != nil {
		return fmt.Errorf(`it is not a list like [{"Name": "x1.tiny", "CPUs": 1, "MemoryMiB": 256}]: %w`, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is something after the list")
	}
	for _, m := range more {
		switch {
		case !typeName.MatchString(m.Name):
			return fmt.Errorf("the name %q is not of the form family.size, in small letters and digits", m.Name)
		case m.CPUs < 1 || m.CPUs > 1024:
			return fmt.Errorf("%s: %d CPUs; 1 to 1024 are possible", m.Name, m.CPUs)
		case m.MemoryMiB < 32 || m.MemoryMiB > 64<<20:
			return fmt.Errorf("%s: %d MiB of memory; 32 MiB to 64 TiB are possible", m.Name, m.MemoryMiB)
		case m.Arch != "" && m.Arch != "x86_64" && m.Arch != "arm64":
			return fmt.Errorf("%s: the architecture %q; x86_64, the default, and arm64 are possible", m.Name, m.Arch)
		}
		t.add(m.Name, m.CPUs, m.MemoryMiB)
		if m.Arch != "" {
			v := t.byName[m.Name]
			v.Arch = m.Arch
			t.byName[m.Name] = v
		}
	}
	t.sort()
	return nil
}
