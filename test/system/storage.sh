# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# storage.sh - what the tests of disks share; sourced after system.sh.
tool/packages storage || exit 74
generic=$(tool/guest-image generic) || exit 74
fio=$(tool/fio-disk) || exit 74

# wait_for FILE: until it is there, 10 s at most.
wait_for() {
	local tries=100

	until [ -e "$1" ] || [ $tries = 0 ]; do
		tries=$((tries - 1))
		sleep 0.1
	done
	[ -e "$1" ]
}

# generic SECONDS SCRIPT [OPTION...]: Debian's kernel for real machines, the script in its initramfs.
generic() {
	local seconds=$1 script=$2

	shift 2
	timeout -k 5 "$seconds" "$holon" run --kernel "$generic/vmlinuz" --initrd "$generic/initrd.gz" --memory 768M \
		--cmdline "console=ttyS0 quiet panic=-1 holon.exec=$(echo "$script" | base64 -w0)" "$@" </dev/null >"$work/console" 2>"$work/stderr"
}
look() {
	[ "$failures" = "$seen" ] || { show "$work/console" 30; show "$work/stderr"; }
	seen=$failures
}
seen=0

# verifies WHAT DEVICE OPTION...: fio writes VERIFY_SIZE (8M) at random, flushes now and then, and reads all of it back by its checksums.
verifies() {
	local what=$1 device=$2 status=0

	shift 2
	generic 300 "
		mkdir -p /fio; mount -t ext4 -o ro /dev/disk-fio /fio 2>/dev/null || for disk in /dev/vd? /dev/nvme?n1 /dev/sd?; do
			[ -b \$disk ] && [ \$disk != $device ] && mount -t ext4 -o ro \$disk /fio 2>/dev/null && break
		done
		mount -o bind /dev /fio/dev && mount -t tmpfs tmpfs /fio/tmp
		chroot /fio /usr/bin/fio --name=v --filename=$device --size=${VERIFY_SIZE:-8M} --rw=randwrite --bsrange=4k-64k --iodepth=8 --ioengine=libaio \
			--direct=1 --fsync=64 --verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=1 --thread && echo 'guest: verified'
		echo guest: sectors \$(cat /sys/block/${device#/dev/}/size)
	" "$@" --disk "$fio,readonly" --cpus 2 || status=$?
	check "$what: fio verifies what it wrote" grep -q '^guest: verified' "$work/console"
	check "$what: the guest powers off (was $status)" [ $status = 0 ]
	look
}
