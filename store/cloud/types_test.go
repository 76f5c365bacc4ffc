package cloud

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadTypes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, fault string }{
		{"more and other ones", ` [{"Name": "x1.tiny", "CPUs": 1, "MemoryMiB": 256}, {"name": "t3.micro", "cpus": 4, "MemoryMiB": 512, "Arch": "arm64"}]` + "\n", ""},
		{"none", `[]`, ""},
		{"no list", `{"types": []}`, `a list like [{"Name": "x1.tiny"`},
		{"cut off", `[{"Name": "a.b",`, "unexpected"},
		{"two lists", `[] []`, "after the list"},
		{"unknown", `[{"Name": "a.b", "CPUs": 1, "MemoryMiB": 256, "DiskGiB": 9}]`, "DiskGiB"},
		{"name", `[{"Name": "Large", "CPUs": 1, "MemoryMiB": 256}]`, "family.size"},
		{"no CPUs", `[{"Name": "a.b", "MemoryMiB": 256}]`, "0 CPUs"},
		{"little memory", `[{"Name": "a.b", "CPUs": 1, "MemoryMiB": 1}]`, "1 MiB"},
		{"architecture", `[{"Name": "a.b", "CPUs": 1, "MemoryMiB": 256, "Arch": "vax"}]`, `"vax"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "types.json")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			types, err := LoadTypes(file)
			if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Fatalf("%s: %v, want %q", tt.text, err, tt.fault)
			}
			if err != nil || tt.name == "none" {
				return
			}
			if got, ok := types.Get("x1.tiny"); !ok || got.CPUs != 1 || got.MemoryMiB != 256 || got.Arch != "x86_64" {
				t.Errorf("x1.tiny is %+v", got)
			}
			if got, _ := types.Get("t3.micro"); got.CPUs != 4 || got.MemoryMiB != 512 || got.Arch != "arm64" || !got.Burstable {
				t.Errorf("t3.micro is %+v", got)
			}
			if _, ok := types.Get("m1.small"); !ok {
				t.Error("EC2's own are gone")
			}
		})
	}
	if _, err := LoadTypes(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
}
