# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# bed.sh - what the tests inside the bed share (tool/bed); sourced. They are scripts for busybox's sh, print TAP, and use `timeout` on everything.
# By hand: tool/bed /test/stock_test. All of them: make test-kvm.
set -u
work=/tmp/work
mkdir -p $work
cases=0
failures=0
export HOLON_LOG="${HOLON_LOG:-warn}"

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
	what=$1
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
show() {
	tail -n "${2:-15}" "$1" | tr -d '\r' | sed 's/^/# /'
}
finish() {
	echo "1..$cases"
	exit $((failures != 0))
}
has_engine() {
	holon version --json | grep -q "\"$1\""
}
