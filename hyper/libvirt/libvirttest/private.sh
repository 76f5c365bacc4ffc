# A private libvirtd: sourced by process 1 of mount and process namespaces of
# its own, which sets dir, a directory with run, lib, log, cache and etc, and
# kvm, "hide" to have no /dev/kvm.

# private puts what libvirtd uses in place of the machine's.
private() {
	local d n
	for d in run:/run/libvirt lib:/var/lib/libvirt log:/var/log/libvirt cache:/var/cache/libvirt etc:/etc/libvirt; do
		mkdir -p "${d#*:}" && mount --bind "$dir/${d%%:*}" "${d#*:}" || return
	done
	# A /dev/kvm that exists but can't run guests makes libvirt 9 probe QEMU anew
	# at each start of a domain, tens of seconds long.
	[ "$kvm" = hide ] || return 0
	mkdir -p "$dir/dev" && mount -t tmpfs -o mode=0755 dev "$dir/dev" || return
	for n in "$dir/dev"/{pts,shm,net}; do mkdir -p "$n"; done
	for n in null zero full random urandom tty; do cp -a "/dev/$n" "$dir/dev/$n" || return; done
	mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$dir/dev/pts" || return
	ln -s pts/ptmx "$dir/dev/ptmx"
	ln -s /proc/self/fd "$dir/dev/fd"
	mknod -m 0666 "$dir/dev/net/tun" c 10 200
	umount -l -R /dev # libvirt looks for the mounts below it, hidden ones too
	mount --move "$dir/dev" /dev
}

start() {
	virtlogd -d -f "$dir/etc/virtlogd.conf" -p "$dir/virtlogd.pid" 2>/dev/null # may be running already
	libvirtd -d -f "$dir/etc/libvirtd.conf" -p "$dir/libvirtd.pid"
}

stop() { # signal
	local pid
	pid=$(cat "$dir/libvirtd.pid") && kill "-$1" "$pid" || return
	while [ -e "/proc/$pid" ] && [ "$(awk '{print $3}' "/proc/$pid/stat" 2>/dev/null)" != Z ]; do sleep 0.02; done
}
