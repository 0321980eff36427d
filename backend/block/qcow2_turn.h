/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_turn.h - other active tables and another list of snapshots, in one step: for qcow2_snapshot.c.
 */
#ifndef HOLON_BLOCK_QCOW2_TURN_H
#define HOLON_BLOCK_QCOW2_TURN_H

#include <stdint.h>

#include <holon/status.h>

struct qcow2;
struct qcow2_snapshots;

struct qcow2_next {
	const uint64_t *l1; /* of which the active tables become a copy: today's, or a snapshot's */
	uint32_t l1_size;
	uint64_t size; /* of the guest's disk */
	const struct qcow2_snapshots *list;
};

/*
 * Nobody else has the image. Cut off at any instant, the image is as before or as wanted, and whole. STATUS_NO_SPACE: there is none on the host, or a cluster would
 * have more references than its refcount can say.
 */
enum status qcow2_turn(struct qcow2 *q, const struct qcow2_next *next, struct reason *why) must_check;

#endif
