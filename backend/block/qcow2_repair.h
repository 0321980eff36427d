/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_repair.h - references that are counted anew (qcow2_check.c), and a new refcount structure made of the counts (qcow2_repair.c): for the repair, and for snapshots
 * (qcow2_turn.c).
 */
#ifndef HOLON_BLOCK_QCOW2_REPAIR_H
#define HOLON_BLOCK_QCOW2_REPAIR_H

#include "qcow2_check.h"
#include "qcow2_walk.h"

struct qcow2_counts {
	struct qcow2 *q;
	struct qcow2_check *check;
	uint32_t *count;          /* references on each cluster of the file, and behind it as far as there is room */
	uint64_t clusters;        /* of the file, new ones too */
	uint64_t file_clusters;   /* before there were new ones */
	uint64_t room;            /* elements of `count` */
	uint64_t used;            /* behind the last cluster with a reference */
	uint64_t hopeless;        /* findings that a repair leaves */
	struct qcow2_frees alone; /* clusters that nothing else may refer to */
	bool active;              /* the active tables are being walked */
	bool rebuild;             /* the refcounts on disk are not these */
};

/* Says something found and counts it in *kind. */
void qcow2_finding(struct qcow2_counts *counts, uint64_t *kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Mends what the check found. `copied`: COPIED bits that are wrong. */
enum status qcow2_repair(struct qcow2_counts *counts, const struct qcow2_counter *counter, uint64_t copied) must_check;

/* An array of counts, all 0, with room for twice the file. */
enum status qcow2_counts_make(struct qcow2_counts *counts, struct qcow2 *q, struct qcow2_check *check,
			      struct reason *why) must_check;
void qcow2_counts_drop(struct qcow2_counts *counts);
/* One more reference on each cluster that [offset, offset + bytes) touches; `what` is for the finding that they are not in the file. */
void qcow2_refer(struct qcow2_counts *counts, uint64_t offset, uint64_t bytes, const char *what);
/* For qcow2_walk; the context is the counts. */
enum status qcow2_visited(void *context, const struct qcow2_visit *visit);
/* All that the image refers to, but the refcount structure; and that. */
enum status qcow2_references_count(struct qcow2_counts *counts) must_check;
void qcow2_structure_count(struct qcow2_counts *counts);

/* `wanted` clusters together whose count is 0, from *from on; it becomes 1. One alone: *from is where to go on. */
enum status qcow2_place_find(struct qcow2_counts *counts, uint64_t *from, uint64_t wanted, uint64_t *offset) must_check;

struct qcow2_structure {
	uint64_t *table;   /* offsets of blocks; for free() */
	uint64_t size;     /* entries, whole clusters of them */
	uint64_t offset;   /* of the table */
	uint64_t clusters; /* of the table */
};
/* Finds places whose count is 0 for a table and its blocks, and counts them too. */
enum status qcow2_structure_place(struct qcow2_counts *counts, struct qcow2_structure *new) must_check;
/* Writes them; stable, with all that was written before. */
enum status qcow2_structure_write(struct qcow2_counts *counts, const struct qcow2_structure *new) must_check;
/* It is the image's from now on. */
void qcow2_structure_take(struct qcow2_counts *counts, struct qcow2_structure *new);

#endif
