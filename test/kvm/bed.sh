# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# bed.sh - what the tests inside the bed share (tool/bed); sourced. They are scripts for busybox's sh, print TAP, and use `timeout` on everything.
# By hand: tool/bed /test/stock_test. All of them: make test-kvm.
set -u
# shellcheck source=test/tap.sh
. /test/tap.sh
work=/tmp/work
mkdir -p $work
export HOLON_LOG="${HOLON_LOG:-warn}"

has_engine() {
	holon version --json | grep -q "\"$1\""
}

# boots WHAT ENGINE OPTION...: boots Debian's kernel from a disk on ENGINE, has it work there, and checks what it saw. $work_first and $watch are what the guest runs
# before and after, $words more of the kernel's parameters.
boots() {
	boot=$1
	engine=$2
	shift 2
	status=0
	/bin/cp --sparse=always /images/disk.img $work/disk.img # the shell's own knows no holes
	script="${work_first:-}"'
		grep -q "/dev/root\|/dev/vda" /proc/mounts && echo "guest: root on vda"
		echo "guest: $(grep -c ^processor /proc/cpuinfo) processors"
		head -c 1000000 /dev/urandom >/var/data; sha256sum /var/data >/var/sum; sync; echo 3 >/proc/sys/vm/drop_caches
		sha256sum -c -s /var/sum && echo "guest: read back"
	'"${watch:-}"
	timeout -k 5 300 holon run --engine "$engine" --memory "${memory:-256M}" --net none --kernel /images/vmlinuz --initrd /images/initrd.gz --disk $work/disk.img \
		--cmdline "console=ttyS0 quiet panic=-1 root=/dev/vda ${words:-} holon.exec=$(echo "$script" | base64 -w0)" "$@" \
		</dev/null >$work/console 2>$work/stderr || status=$?
	before=$failures
	check "$boot: Debian's kernel boots and powers off (status $status)" test $status = 0
	check "$boot: its root is the virtio disk" grep -q '^guest: root on vda' $work/console
	check "$boot: it writes to the disk and reads back" grep -q '^guest: read back' $work/console
	processors=$(sed -n 's/^guest: \([0-9]*\) processors.*/\1/p' $work/console)
	check "$boot: it has as many processors as were asked for ($processors)" sh -c "echo \"\$* \" | grep -q -- \"--cpus ${processors:-none} \"" sh "$@"
	[ $failures = "$before" ] || { show $work/console 30; show $work/stderr 30; }
	rm -f $work/disk.img
}

# What a boot can do without where it is not about the boot.
light="cryptomgr.notests apparmor=0 audit=0 mitigations=off pcie_ports=compat"

# For boots: sleeps in the guest meanwhile, ten at least and until the work is done, and what its kernel complains of at the end; `slept` checks it. A sleep without end ends
# with the boot's deadline. (An AMD processor without an invariant TSC, as the bed's, may not be two for the kernel to take its TSC.)
sleeper() {
	memory=128M
	words=$light
	work_first='(ticks=0; until [ $ticks -ge 10 ] && [ -e /tmp/worked ]; do sleep 0.05 || exit; ticks=$((ticks + 1)); done) & sleeps=$!'
	watch=': >/tmp/worked; wait $sleeps && echo "guest: slept"
		dmesg | grep -v "TSCs unsynchronized" | grep -i "unstable\|stuck\|lockup\|i/o error\|nobody cared" || echo "guest: nothing to complain of"'
}
slept() {
	check "its sleeps end" grep -q '^guest: slept' $work/console
	check "its kernel has nothing to complain of" grep -q '^guest: nothing to complain of' $work/console
}
# counted KEY LEAST WHAT: of the statistics.
counted() {
	count=$(sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" $work/stats)
	check "$3 at least $2 times ($count)" test "${count:-0}" -ge "$2"
}
