#!/bin/busybox sh
# The test guest's init. It tells what it sees, and obeys the power button.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1
for m in /mod/*.ko; do insmod "$m"; done

for f in sys_vendor product_uuid product_serial board_asset_tag chassis_asset_tag; do
	echo "dmi $f=$(cat /sys/class/dmi/id/$f)"
done
for d in /sys/block/vd*; do
	[ -e "$d" ] && echo "disk ${d##*/} serial=$(cat "$d/serial") sectors=$(cat "$d/size") ro=$(cat "$d/ro")"
done
for n in /sys/class/net/eth*; do
	[ -e "$n" ] && echo "nic ${n##*/} mac=$(cat "$n/address") mtu=$(cat "$n/mtu")"
done

for e in /dev/input/event*; do
	exec 3<"$e" # here, so that no press is missed once the guest says it is ready
	(head -c 24 <&3 >/dev/null && echo "power button pressed" && poweroff -f) &
done
echo "hypertest guest is ready"
read -r cmdline </proc/cmdline
case $cmdline in
*do=poweroff*) poweroff -f ;;
*do=panic*) echo c >/proc/sysrq-trigger ;;
*do=fill*) dd if=/dev/zero of=/dev/vda bs=1M ;;
esac
while :; do sleep 3600; done
