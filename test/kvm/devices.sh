# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# devices.sh - one VM with everything that a process beside it serves, or that only a running guest can show: a disk by vhost-user, one by NBD, SATA and CD-ROM, a shared folder, a switch with
# another VM, sockets, a balloon, a watchdog. For every engine: sourced by test/kvm/devices_test behind bed.sh, and by test/system/devices_test behind system.sh.

# says FILE PATTERN: of a VM, with all the time that its `timeout` leaves it.
says() {
	# shellcheck disable=SC2154 # seconds is of those who call
	until_true "$seconds" sh -c 'grep -q "$2" "$1" || ! kill -0 "$3"' sh "$1" "$2" "$vm"
	grep -q "$2" "$1"
}
resident() {
	awk '/^VmRSS/ { print $2 }' "/proc/$1/status" 2>/dev/null || echo 0
}
# process NAME: the pid of that VM; between it and us is a timeout, or not.
process() {
	for entry in /proc/[0-9]*; do
		tr '\0' ' ' <"$entry/cmdline" 2>/dev/null | grep -q "^[^ ]*holon run .*--name $1 .*$work" && echo "${entry#/proc/}"
	done
}
below() {
	[ "$(resident "$1")" -lt "$2" ]
}
number() {
	found=$(sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$work/stats")
	echo "${found:-0}"
}
# go NAME: a line for the guest. Opened for both directions, so that nobody waits where the VM has ended.
go() {
	echo 1<>"$work/$1.input"
}

# vm_start NAME KERNEL INITRD SCRIPT OPTION...: in the background, its pid (timeout's) in $vm; console and input are files of its name.
vm_start() {
	name=$1
	kernel=$2
	initrd=$3
	script=$4
	shift 4
	mkfifo "$work/$name.input"
	: >"$work/$name"
	timeout -k 5 "$seconds" "${holon:-holon}" run --kernel "$kernel" --initrd "$initrd" --name "$name" --net switch=lab \
		--cmdline "console=ttyS0 quiet panic=-1 cryptomgr.notests apparmor=0 audit=0 mitigations=off pcie_ports=compat holon.exec=$(echo "$script" | base64 -w0)" \
		"$@" <>"$work/$name.input" >"$work/$name" 2>"$work/$name.err" &
	vm=$!
}

# devices ENGINE OTHER PLACE SECONDS: on ENGINE, with a neighbour on OTHER; PLACE is what devices_image has made. Background processes are in $pids for who ends them.
devices() {
	engine=$1
	other=$2
	place=$3
	seconds=$4
	mkdir -m 700 "$work/run"
	export XDG_RUNTIME_DIR="$work/run"
	mkdir "$work/share"
	head -c 300000 /dev/urandom >"$work/share/data"
	head -c 409600 /dev/urandom >"$work/disc.iso"
	truncate -s 4M "$work/vhost.img" "$work/nbd.img" "$work/sata.img"

	timeout "$seconds" qemu-storage-daemon --blockdev "driver=file,node-name=vhost,filename=$work/vhost.img" --blockdev "driver=file,node-name=nbd,filename=$work/nbd.img" \
		--export "type=vhost-user-blk,id=one,node-name=vhost,writable=on,num-queues=2,addr.type=unix,addr.path=$work/vhost.sock" \
		--nbd-server "addr.type=unix,addr.path=$work/nbd.sock" --export type=nbd,id=two,node-name=nbd,name=disk,writable=on >"$work/daemon" 2>&1 &
	served="$!"
	timeout "$seconds" "$place/vsock_guest" listen "$work/vsock_5000" >/dev/null 2>&1 &
	served="$served $!"
	until_true 20 test -S "$work/vhost.sock" -a -S "$work/nbd.sock" -a -S "$work/vsock_5000" || show "$work/daemon"

	# Debian's cloud kernel is quicker to boot, and has no SATA, which is all that the subject wants of the other.
	vm_start neighbour "${images:-/images}/vmlinuz" "${images:-/images}/initrd.gz" 'ip link set eth0 up; ip addr add 192.168.79.1/24 dev eth0; mkdir -p /srv; head -c 200000 /dev/zero >/srv/zeroes; httpd -h /srv -p 80; read -r go' \
		--engine "$other" --memory 128M
	neighbour=$vm
	# shellcheck disable=SC2016 # it is the guest's
	vm_start subject "$place/vmlinuz" "$place/initrd" '
		tries=100; until [ -b /dev/sda ] && [ -b /dev/sr0 ] || [ $tries = 0 ]; do tries=$((tries - 1)); sleep 0.1; done
		head -c 400000 /dev/urandom >/tmp/data
		for disk in vda vdb sda; do
			dd if=/tmp/data of=/dev/$disk bs=50k conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches
			head -c 400000 /dev/$disk | cmp - /tmp/data && echo "guest: holds $disk"
		done
		echo "guest: disc $(md5sum </dev/sr0)"
		mkdir /s; mount -t virtiofs work /s && cp /s/data /s/back && cp /bin/busybox /s/busybox && echo 3 >/proc/sys/vm/drop_caches && /s/busybox echo "guest: ran from the share"; umount /s
		ip link set eth0 up; ip addr add 192.168.79.2/24 dev eth0
		until ping -c 1 -W 1 192.168.79.1 >/dev/null; do :; done
		ping -c 2 -A -s 1400 -W 10 192.168.79.1 >/dev/null && echo "guest: pings"
		until wget -q -O /tmp/zeroes http://192.168.79.1/zeroes; do sleep 0.2; done; echo "guest: fetched $(wc -c </tmp/zeroes)"
		/vsock_guest listen 1234 &
		/vsock_guest connect 77 10; /vsock_guest connect 5000 100000
		mount -t tmpfs -o size=100% none /mnt; dd if=/dev/zero of=/mnt/data bs=1M count=57 2>/dev/null; echo "guest: filled"; read -r go
		rm /mnt/data; echo "guest: freed"; read -r go
		watchdog -T 4 -t 1 /dev/watchdog0; sleep 5; echo "guest: alive"; killall -STOP watchdog; sleep 60; echo "guest: not ended"' \
		--engine "$engine" --cpus 2 --memory 256M --disk "vhost-user=$work/vhost.sock" --disk "nbd+unix:///disk?socket=$work/nbd.sock" --disk "$work/sata.img,bus=sata" \
		--cdrom "$work/disc.iso" --share "$work/share:work" --vsock "$work/vsock" --balloon target=60M,stats=1 --watchdog crash --stats "$work/stats"
	# shellcheck disable=SC2034 # for who ends them
	pids="$served $neighbour $vm"

	check "$engine: sockets: the guest listens" says "$work/subject" GUEST-LISTENS
	check "$engine: sockets: the host calls the guest: 100 kB there and back" sh -c 'timeout 60 "$1" connect "$2" 100000 | grep -q "^GUEST-BACK 100000$"' sh "$place/vsock_guest" "$work/vsock:1234"
	check "$engine: balloon: the guest fills 60 MB" says "$work/subject" '^guest: filled'
	child=$(process subject)
	full=$(resident "$child")
	go subject
	check "$engine: balloon: and frees them" says "$work/subject" '^guest: freed'
	[ -z "$child" ] || until_true 60 below "$child" $((full - 40000)) || :
	check "$engine: balloon: the host has 40 MB of them again ($full KiB, then $(resident "$child"))" below "$child" $((full - 40000))
	go subject
	status=0
	wait "$vm" || status=$?
	for disk in "vda vhost-user, by qemu-storage-daemon" "vdb NBD, by qemu-storage-daemon" "sda SATA"; do
		check "$engine: a disk by ${disk#* } holds what was written" grep -q "^guest: holds ${disk%% *}" "$work/subject"
	done
	check "$engine: CD-ROM: all of the disc is read" grep -q "^guest: disc $(md5sum <"$work/disc.iso")" "$work/subject"
	check "$engine: share: what was read and written again is on the host" cmp -s "$work/share/data" "$work/share/back"
	check "$engine: share: a program runs from it" grep -q '^guest: ran from the share' "$work/subject"
	check "$engine: switch: the neighbour, under $other, answers to pings" grep -q '^guest: pings' "$work/subject"
	check "$engine: switch: and sends 200 kB" grep -q '^guest: fetched 200000' "$work/subject"
	check "$engine: sockets: where nobody listens on the host, the guest is refused" grep -q '^GUEST-REFUSED' "$work/subject"
	check "$engine: sockets: the guest calls the host: 100 kB there and back" grep -q '^GUEST-BACK 100000' "$work/subject"
	check "$engine: balloon: more went by request ($(number discarded) in all, $(number reported_free) reported free)" test $(($(number discarded) - $(number reported_free))) -ge $((55 << 20))
	check "$engine: balloon: the guest's own statistics are known" test "$(number total)" -gt $((150 << 20))
	check "$engine: watchdog: a guest that pets it lives" grep -q '^guest: alive' "$work/subject"
	check "$engine: watchdog: one that stops is ended: 70 (was $status)" test $status = 70
	go neighbour
	status=0
	wait "$neighbour" || status=$?
	check "the neighbour powers off (was $status)" test $status = 0
	[ $failures = 0 ] || for name in subject neighbour; do show "$work/$name" 40; show "$work/$name.err" 30; done
	# shellcheck disable=SC2086 # two words
	kill $served
}
