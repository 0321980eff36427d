# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# tap.sh - what scripts print of their cases: TAP. Sourced by test/system/system.sh, in bash, and by test/kvm/bed.sh, in busybox's sh.
cases=0
failures=0

ok() {
	cases=$((cases + 1))
	echo "ok $cases - $*"
}
not_ok() {
	cases=$((cases + 1))
	failures=$((failures + 1))
	echo "not ok $cases - $*"
}
# check WHAT COMMAND...: a case that holds if the command succeeds.
check() {
	local what="$1"

	shift
	if "$@"; then
		ok "$what"
	else
		not_ok "$what"
	fi
}
skip() {
	cases=$((cases + 1))
	echo "ok $cases # SKIP $*"
}
finish() {
	echo "1..$cases"
	exit $((failures != 0))
}
# show FILE [LINES]: its last ones, for who looks into a failure.
show() {
	tail -n "${2:-15}" "$1" | tr -d '\r' | sed 's/^/# /'
}

# until_true SECONDS COMMAND...: waits until the command succeeds.
until_true() {
	local tries=$(($1 * 10))

	shift
	until "$@" 2>/dev/null; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.1
	done
}
