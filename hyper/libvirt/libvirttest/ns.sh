# Process 1 of a private libvirtd's namespaces. Arguments: directory, "hide"
# to have no /dev/kvm. It obeys one word a line on its standard input, answers
# each with "ok" or "failed", and when its input ends it ends, and the kernel
# kills everything else in here, guests included.
dir=$1 kvm=$2
exec 2>>"$dir/ns.log"

mount -t proc proc /proc || exit 1
for d in run:/run/libvirt lib:/var/lib/libvirt log:/var/log/libvirt cache:/var/cache/libvirt etc:/etc/libvirt; do
	mkdir -p "${d#*:}" && mount --bind "$dir/${d%%:*}" "${d#*:}" || exit 1
done

# Named network namespaces that are made in here stay in here.
mkdir -p /run/netns && mount -t tmpfs -o mode=0755 netns /run/netns || exit 1
ip link set lo up

# A /dev/kvm that exists but can't run guests makes libvirt 9 probe QEMU anew
# at each start of a domain, tens of seconds long.
if [ "$kvm" = hide ]; then
	mkdir "$dir/dev" && mount -t tmpfs -o mode=0755 dev "$dir/dev" || exit 1
	for n in "$dir/dev"/{pts,shm,net}; do mkdir -p "$n"; done
	for n in null zero full random urandom tty; do cp -a "/dev/$n" "$dir/dev/$n" || exit 1; done
	mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$dir/dev/pts" || exit 1
	ln -s pts/ptmx "$dir/dev/ptmx"
	ln -s /proc/self/fd "$dir/dev/fd"
	mknod -m 0666 "$dir/dev/net/tun" c 10 200
	umount -l -R /dev # libvirt looks for the mounts below it, hidden ones too
	mount --move "$dir/dev" /dev || exit 1
fi

start() {
	virtlogd -d -f "$dir/etc/virtlogd.conf" -p "$dir/virtlogd.pid" 2>/dev/null # may be running already
	libvirtd -d -f "$dir/etc/libvirtd.conf" -p "$dir/libvirtd.pid"
}

stop() { # signal
	local pid
	pid=$(cat "$dir/libvirtd.pid") && kill "-$1" "$pid" || return
	while [ -e "/proc/$pid" ] && [ "$(awk '{print $3}' "/proc/$pid/stat" 2>/dev/null)" != Z ]; do sleep 0.02; done
}

while read -r cmd arg; do
	case $cmd in
	start) start ;;
	kill) stop KILL ;;
	stop) stop TERM ;;
	freeze) kill -STOP "$(cat "$dir/libvirtd.pid")" ;;
	thaw) kill -CONT "$(cat "$dir/libvirtd.pid")" ;;
	crash) kill -KILL "$(cat "$dir/run/qemu/$arg.pid")" ;; # a guest's emulator
	tap) ip tuntap add "$arg" mode tap && ip link set "$arg" up ;;
	link) ip -o link show "$arg" >&2 ;;
	*) false ;;
	esac >/dev/null && echo ok || echo failed
done
