# shellcheck shell=bash
# Shared by the scripts beside this file: source it.
#
# It gives messages, the Go toolchain, Debian packages and a libvirtd, on a
# machine that may have none of them.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
go_version=1.26.8

step() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

need_root() { [ "$(id -u)" = 0 ] || die "this needs root: it starts virtual machines and their networks; try: sudo $0"; }

# packages NAME… installs those Debian packages that are missing.
packages() {
	local missing=() p
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
	done
	[ ${#missing[@]} = 0 ] && return
	command -v apt-get >/dev/null || die "these Debian packages are missing, and there is no apt-get: ${missing[*]}"
	step "installing ${missing[*]}"
	# Debian starts a daemon as soon as it is installed; where there is no
	# systemd that fails, and libvirtd below starts it.
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$build/apt.log" 2>&1 ||
		die "apt-get could not install them; see $build/apt.log"
}

# find_go puts a Go of at least go_version on the PATH. Debian 12's own is too
# old to build eucad but not to fetch a newer one, which comes as a module.
find_go() {
	local g
	for g in "$(command -v go || true)" /usr/local/go/bin/go "$build/go/bin/go"; do
		if [ -x "$g" ] && newer "$(GOTOOLCHAIN=local "$g" env GOVERSION 2>/dev/null)"; then
			PATH=$(dirname "$g"):$PATH
			export PATH GOTOOLCHAIN=local
			return
		fi
	done
	packages golang-go ca-certificates
	step "fetching Go $go_version"
	local name arch dir
	arch=$(dpkg --print-architecture)
	name=golang.org/toolchain@v0.0.1-go$go_version.linux-$arch
	(cd / && GOFLAGS="" GOMODCACHE=$build/gomod go mod download "$name") || die "cannot fetch Go $go_version; install it yourself and try again"
	dir=$build/gomod/$name
	rm -rf "$build/go"
	cp -r "$dir" "$build/go"
	chmod -R u+w "$build/go" "$build/gomod"
	rm -rf "$build/gomod"
	chmod +x "$build"/go/bin/* "$build"/go/pkg/tool/*/*
	export PATH=$build/go/bin:$PATH GOTOOLCHAIN=local
}

# newer VERSION succeeds when VERSION ("go1.26.8") is go_version or later.
newer() { [ -n "$1" ] && [ "$(printf '%s\n' "go$go_version" "$1" | sort -V | head -1)" = "go$go_version" ]; }

# build_eucad makes build/eucad, static and stripped.
build_eucad() {
	find_go
	step "building eucad"
	(cd "$root" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$build/eucad" .)
}

has_systemd() { [ -d /run/systemd/system ]; }

# libvirtd_up has a libvirtd running. KVM that libvirt's QEMU user cannot open
# makes libvirt probe QEMU anew at every start of a guest, for 48 s.
libvirtd_up() {
	if [ -e /dev/kvm ] && ! runuser -u libvirt-qemu -- test -r /dev/kvm -a -w /dev/kvm; then
		step "letting libvirt's QEMU open /dev/kvm"
		chmod 0666 /dev/kvm
	fi
	if has_systemd; then
		systemctl start libvirtd
	elif ! virsh -q -c qemu:///system version >/dev/null 2>&1; then
		step "starting libvirtd by hand: there is no systemd"
		mkdir -p /run/libvirt
		virtlogd -d
		libvirtd -d
	fi
	for _ in $(seq 100); do
		virsh -q -c qemu:///system version >/dev/null 2>&1 && return
		sleep 0.1
	done
	die "libvirtd does not answer; its log is in /var/log/libvirt or journalctl -u libvirtd"
}

mkdir -p "$build"
