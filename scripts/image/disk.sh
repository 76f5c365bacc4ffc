# shellcheck shell=bash
#
# Functions that scripts/image/tiny and scripts/image/debian share: packages
# and disks made of plain files, without mounts, loop devices or device mapper.

# die says what is wrong and ends the script.
die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# need checks that each command is there, and names the packages to install.
need() {
	local c
	for c in "$@"; do
		command -v "$c" >/dev/null || die "$c is missing: apt-get install $("$0" --packages | xargs)"
	done
}

# versions prints name=version for each package as apt would install it now.
versions() {
	local p v
	for p in "$@"; do
		v=$(apt-cache policy "$p" 2>/dev/null | sed -n 's/^ *Candidate: //p')
		[[ -n $v && $v != "(none)" ]] || die "apt knows no package $p: run apt-get update, on Debian 12 (bookworm)"
		echo "$p=$v"
	done
}

# unpack DIR CACHE PACKAGE=VERSION... puts the packages' files below DIR. It
# installs nothing; CACHE keeps the downloaded packages.
unpack() {
	local dir=$1 cache=$2 pv deb
	shift 2
	mkdir -p "$dir" "$cache"
	for pv in "$@"; do
		# apt writes the colon of an epoch as %3a in file names.
		deb=$(echo "${pv/=/_}_" | sed 's/:/%3a/')
		if ! compgen -G "$cache/$deb*.deb" >/dev/null; then
			(cd "$cache" && apt-get -qq -o APT::Sandbox::User=root download "$pv" >/dev/null) ||
				die "cannot download $pv: check the network and run apt-get update"
		fi
		dpkg-deb -x "$cache/$deb"*.deb "$dir"
	done
}

# give FROM TO copies a result so that TO is never half there.
give() {
	cp --reflink=auto --sparse=always "$1" "$2.part"
	mv "$2.part" "$2"
}

# ext4 FILE MIB DIR LABEL makes a file system that holds what is in DIR.
ext4() {
	local uuid=5c1a0ed1-0000-4000-8000-000000000001
	rm -f "$1"
	truncate -s "$2M" "$1"
	# 4 KiB blocks also on a small one: it will be grown to the instance's
	# disk. A fixed UUID, seed and time give the same bytes for the same input.
	E2FSPROGS_FAKE_TIME=1700000000 mke2fs -q -F -t ext4 -b 4096 -m 1 -J size=$(($2 < 512 ? 4 : 32)) -L "$4" -U "$uuid" \
		-E "hash_seed=$uuid,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0" -d "$3" "$1"
}

# disk OUT WORK ROOTFS KERNEL INITRD CMDLINE makes a qcow2 that a BIOS boots.
#
# The second partition comes first on the disk: a FAT with SYSLINUX, kernel and
# ramdisk. The first partition, /dev/vda1 as on EC2's own images, comes last, so
# that it can grow when the instance's disk is larger than the image.
disk() {
	local out=$1 work=$2 rootfs=$3 kernel=$4 initrd=$5 cmdline=$6
	local start=2048 size boot raw=$work/disk.raw fat=$work/boot.fat
	boot=$((($(stat -c %s "$kernel") + $(stat -c %s "$initrd")) / 1048576 + 4))
	size=$(($(stat -c %s "$rootfs") / 1048576))

	rm -f "$raw" "$fat"
	truncate -s "${boot}M" "$fat"
	mformat -i "$fat" -N 0ec2ad00 -H "$start" -h 64 -s 32 -T $((boot * 2048)) -v BOOT ::
	cat >"$work/syslinux.cfg" <<-END
		DEFAULT linux
		PROMPT 0
		TIMEOUT 0
		LABEL linux
		  LINUX vmlinuz
		  INITRD initrd
		  APPEND $cmdline
	END
	mcopy -m -i "$fat" "$kernel" ::vmlinuz
	mcopy -m -i "$fat" "$initrd" ::initrd
	mcopy -m -i "$fat" "$work/syslinux.cfg" ::syslinux.cfg
	syslinux --install "$fat"

	truncate -s $((1 + boot + size))M "$raw"
	sfdisk -q --no-reread --no-tell-kernel "$raw" <<-END
		label: dos
		label-id: 0x0ec2ad00
		1: start=$((start + boot * 2048)), size=$((size * 2048)), type=83
		2: start=$start, size=$((boot * 2048)), type=e, bootable
	END
	dd if=/usr/lib/syslinux/mbr/mbr.bin of="$raw" conv=notrunc status=none
	dd if="$fat" of="$raw" bs=1M seek=1 conv=notrunc,sparse status=none
	dd if="$rootfs" of="$raw" bs=1M seek=$((1 + boot)) conv=notrunc,sparse status=none
	# Not compressed: inflating clusters under the BIOS costs a third of a second a boot.
	qemu-img convert -q -f raw -O qcow2 -o compat=1.1,lazy_refcounts=off "$raw" "$out.part"
	mv "$out.part" "$out"
	rm -f "$raw" "$fat"
}
