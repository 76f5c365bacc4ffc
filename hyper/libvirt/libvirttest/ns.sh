# Process 1 of a private libvirtd's namespaces, after private.sh. Arguments:
# directory, "hide" to have no /dev/kvm. It obeys one word a line on its
# standard input, answers each with "ok" or "failed", and when its input ends it
# ends, and the kernel kills everything else in here, guests included.
dir=$1 kvm=$2
exec 2>>"$dir/ns.log"

mount -t proc proc /proc && private || exit 1

# Named network namespaces that are made in here stay in here.
mkdir -p /run/netns && mount -t tmpfs -o mode=0755 netns /run/netns || exit 1
ip link set lo up

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
