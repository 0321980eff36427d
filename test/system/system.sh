# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# system.sh - what the system tests share; sourced. They print TAP, boot real guests with build/holon and use `timeout` on everything.
# Called by tool/test-run; by hand: HOLON=build/holon test/system/boot_jit_test.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 74
tree=$PWD
# shellcheck source=test/tap.sh
. test/tap.sh
holon=${HOLON:-$tree/build/holon}
# shellcheck disable=SC2034 # for those who source this
guests=${holon%/*}/test/guest
images=$(tool/guest-image) || exit 74
work=$(mktemp -d "${TMPDIR:-/tmp}/holon-test.XXXXXX")
pids=()
export HOLON_LOG=${HOLON_LOG:-warn}

cleanup() {
	local pid

	for pid in "${pids[@]}"; do
		pkill -KILL -P "$pid" 2>/dev/null # what `timeout` runs
		kill -9 "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap cleanup EXIT

# until_line FILE PATTERN SECONDS: waits until a line of the file matches.
until_line() {
	until_true "$3" grep -q "$2" "$1"
}

engines() {
	"$holon" version --json | tr -d '\n ' | sed -n 's/.*"engines":\[\([^]]*\)\].*/\1/p' | tr -d '"' | tr ',' '\n' | grep -v '^kvm$'
}
has_engine() {
	engines | grep -qx "$1"
}

# linux SECONDS SCRIPT [OPTION...]: boots Debian's kernel without a disk, runs the shell script in its initramfs, powers off. Console in $work/console.
linux() {
	local seconds=$1 script=$2

	shift 2
	timeout -k 5 "$seconds" "$holon" run --kernel "$images/vmlinuz" --initrd "$images/initrd.gz" \
		--cmdline "console=ttyS0 quiet panic=-1 holon.exec=$(echo "$script" | base64 -w0)" "$@" </dev/null >"$work/console" 2>"$work/stderr"
}

# linux_disk SECONDS SCRIPT DISK [OPTION...]: the same from a root disk.
linux_disk() {
	local seconds=$1 script=$2 disk=$3

	shift 3
	timeout -k 5 "$seconds" "$holon" run --kernel "$images/vmlinuz" --initrd "$images/initrd.gz" --disk "$disk" \
		--cmdline "console=ttyS0 quiet panic=-1 root=/dev/vda holon.exec=$(echo "$script" | base64 -w0)" "$@" </dev/null >"$work/console" 2>"$work/stderr"
}

# linux_idle SECONDS [OPTION...]: boots one in the background that says GUEST-READY and then sleeps. Its pid in $guest.
linux_idle() {
	local seconds=$1 tries

	shift
	tries=$((seconds * 10))
	: >"$work/console"
	"$holon" run --kernel "$images/vmlinuz" --initrd "$images/initrd.gz" "$@" \
		--cmdline "console=ttyS0 quiet panic=-1 holon.exec=$(echo 'echo GUEST-READY; sleep 3600' | base64 -w0)" </dev/null >"$work/console" 2>"$work/stderr" &
	guest=$!
	pids+=("$guest")
	until grep -q GUEST-READY "$work/console"; do
		tries=$((tries - 1))
		if [ $tries = 0 ] || ! kill -0 "$guest" 2>/dev/null; then
			show "$work/console"
			show "$work/stderr"
			return 1
		fi
		sleep 0.1
	done
}

# boots ENGINE CPUS SECONDS [OPTION...]: boots from disk, checks what the guest sees, writes and syncs, does MORE, powers off.
boots() {
	local engine=$1 cpus=$2 seconds=$3 status=0 script

	shift 3
	cp --sparse=always "$images/disk.img" "$work/disk.img"
	script='
		grep -q "/dev/root\|/dev/vda" /proc/mounts && echo "guest: root on vda"
		echo "guest: $(grep -c ^processor /proc/cpuinfo) processors"
		head -c 1000000 /dev/urandom >/var/data && sync && echo "guest: wrote"'
	linux_disk "$seconds" "$script${MORE:-}" "$work/disk.img" --engine "$engine" --cpus "$cpus" --memory 512M "$@" || status=$?
	check "$engine, $cpus vcpus: Debian's kernel boots and powers off" [ $status = 0 ]
	check "$engine, $cpus vcpus: the guest has $cpus processors" grep -q "^guest: $cpus processors" "$work/console"
	check "$engine, $cpus vcpus: its root is the virtio disk" grep -q '^guest: root on vda' "$work/console"
	check "$engine, $cpus vcpus: it writes to the disk" grep -q '^guest: wrote' "$work/console"
	[ $failures = 0 ] || { show "$work/console" 30; show "$work/stderr"; }
}

# reboots ENGINE CPUS SECONDS: one VM, two boots: the guest resets itself and finds its own file.
reboots() {
	local engine=$1 cpus=$2 seconds=$3 status=0 script

	cp --sparse=always "$images/disk.img" "$work/disk.img"
	script='
		if [ -f /var/token ]; then
			sha256sum -c -s /var/sum && echo "guest: read back"
		else
			head -c 1000000 /dev/urandom >/var/data; sha256sum /var/data >/var/sum; touch /var/token; sync
			echo "guest: rebooting"
			mount -o remount,ro /
			reboot -f
		fi'
	linux_disk "$seconds" "$script" "$work/disk.img" --engine "$engine" --cpus "$cpus" --memory 512M || status=$?
	check "$engine, $cpus vcpus: the guest reboots" grep -q '^guest: rebooting' "$work/console"
	check "$engine, $cpus vcpus: and reads back what it wrote before" grep -q '^guest: read back' "$work/console"
	check "$engine, $cpus vcpus: and powers off" [ $status = 0 ]
	[ $failures = 0 ] || { show "$work/console" 30; show "$work/stderr"; }
}

# tried WHAT COUNTER LEAST OPTION...: boots from disk with CPUS (2) vcpus within SECONDS_MAX (250); the guest writes, drops its caches, reads back and sleeps meanwhile by its own clock. The stats
# must count LEAST trials. It sleeps ten times at least, and until the rest is done.
tried() {
	local what=$1 counter=$2 least=$3 status=0 script count

	shift 3
	cp --sparse=always "$images/disk.img" "$work/disk.img"
	script='
		grep -q "/dev/root\|/dev/vda" /proc/mounts && echo "guest: root on vda"
		(ticks=0; until [ $ticks -ge 10 ] && [ -e /tmp/worked ]; do sleep 0.05 || exit; ticks=$((ticks + 1)); done) &
		sleeps=$!
		for i in 1 2 3; do
			head -c 2000000 /dev/urandom >/var/data$i; sha256sum /var/data$i >/var/sum$i; sync
			echo 3 >/proc/sys/vm/drop_caches
			sha256sum -c -s /var/sum$i && echo "guest: verified $i"
		done
		: >/tmp/worked
		wait $sleeps && echo "guest: slept"
		dmesg | grep -i "unstable\|stuck\|lockup\|i/o error\|nobody cared" || echo "guest: nothing to complain of"'
	linux_disk "${SECONDS_MAX:-250}" "$script" "$work/disk.img" --cpus "${CPUS:-2}" --memory 256M --stats "$work/stats" "$@" || status=$?
	count=$(sed -n "s/.*\"$counter\": \([0-9]*\).*/\1/p" "$work/stats")
	check "$what: Debian's kernel boots and powers off (status $status)" [ $status = 0 ]
	check "$what: $count of them, at least $least" [ "${count:-0}" -ge "$least" ]
	check "$what: the disk holds what was written" [ "$(grep -c '^guest: verified' "$work/console")" = 3 ]
	check "$what: sleeps end" grep -q '^guest: slept' "$work/console"
	check "$what: the kernel has nothing to complain of" grep -q '^guest: nothing to complain of' "$work/console"
	[ $failures = 0 ] || { show "$work/console" 30; show "$work/stderr"; }
}
