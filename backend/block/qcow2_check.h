/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_check.h - is an image whole, and mending it. Nobody else has the image, and all of it is written back.
 *
 * Every table is walked and every reference to a cluster counted; then the counts on disk are compared with that. A count that is too low (or a table entry that makes
 * no sense) endangers data: a corruption. One that is too high only costs space: a leak.
 */
#ifndef HOLON_BLOCK_QCOW2_CHECK_H
#define HOLON_BLOCK_QCOW2_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/status.h>

struct qcow2;

struct qcow2_check {
	bool repair;
	bool quiet;                              /* findings are counted only, not said */
	uint64_t corruptions, leaks;             /* found */
	uint64_t corruptions_fixed, leaks_fixed; /* of these */
	uint64_t clusters, allocated, packed;    /* of the guest's disk; have data; are compressed */
	uint64_t end;                            /* bytes of the file up to the last cluster in use */
};

/*
 * STATUS_OK: it could be checked, whatever was found. A repair counts references anew, writes a whole new refcount structure and turns the header
 * to it in one write, so that it can be cut off at any instant. It never touches the guest's data; entries that make no sense stay.
 */
enum status qcow2_check(struct qcow2 *q, struct qcow2_check *check, struct reason *why) must_check;

#endif
