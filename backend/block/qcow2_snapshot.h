/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_snapshot.h - snapshots inside an image: each an L1 table of its own that shares clusters with the others.
 *
 * Nobody else has the image. Cut off at any instant, an operation leaves the old state or the new one, and at worst counts that are too high.
 */
#ifndef HOLON_BLOCK_QCOW2_SNAPSHOT_H
#define HOLON_BLOCK_QCOW2_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holon/status.h>

struct qcow2;

struct qcow2_snapshot {
	char *id, *name;
	uint64_t l1_offset;
	uint32_t l1_size;
	uint32_t date, date_ns; /* seconds since 1970 */
	uint64_t vm_clock_ns;
	uint64_t vm_state; /* bytes of a saved VM */
	uint64_t disk_size;
	uint8_t *record; /* as it is in the table, with what Holon does not know */
	size_t record_bytes;
};

struct qcow2_snapshots {
	struct qcow2_snapshot *snapshot;
	uint32_t count;
	uint64_t bytes; /* of the table */
};

enum status qcow2_snapshots_read(struct qcow2 *q, struct qcow2_snapshots *list, struct reason *why) must_check;
void qcow2_snapshots_free(struct qcow2_snapshots *list);
/* At opening: is the table whole, and how long is it? */
enum status qcow2_snapshots_measure(struct qcow2 *q, struct reason *why) must_check;
/* A snapshot's L1 table, for free(). */
enum status qcow2_snapshot_l1(struct qcow2 *q, const struct qcow2_snapshot *snapshot, uint64_t **out) must_check;

/* By name, or by id where no name fits. */
enum status qcow2_snapshot_create(struct qcow2 *q, const char *name, struct reason *why) must_check;
enum status qcow2_snapshot_apply(struct qcow2 *q, const char *name, struct reason *why) must_check;
enum status qcow2_snapshot_delete(struct qcow2 *q, const char *name, struct reason *why) must_check;

#endif
