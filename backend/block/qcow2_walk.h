/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_walk.h - visits everything that an L1 table refers to, for the check and for snapshots. The image is written back and nobody else has it.
 */
#ifndef HOLON_BLOCK_QCOW2_WALK_H
#define HOLON_BLOCK_QCOW2_WALK_H

#include "qcow2_image.h"

enum qcow2_visit_kind { QCOW2_VISIT_TABLE, QCOW2_VISIT_DATA, QCOW2_VISIT_PACKED, QCOW2_VISIT_WRONG };

struct qcow2_visit {
	enum qcow2_visit_kind kind; /* WRONG: an entry that makes no sense; `word` is it */
	uint64_t offset, bytes;     /* in the file */
	uint32_t times;             /* how many such there are, in the tables that name it and as often as those are named */
	uint64_t guest;             /* the first byte of the guest's disk that it is for */
	uint64_t word, bits;
};

/* Stops at the first status that is not OK, and returns it. The tables' visits come first; what they refer to is in the order of the file. */
enum status qcow2_walk(struct qcow2 *q, const uint64_t *l1, uint32_t l1_size,
		       enum status (*visit)(void *context, const struct qcow2_visit *visit), void *context) must_check;

/* How many refer to a cluster, for qcow2_copied_pass. */
struct qcow2_counter {
	enum status (*count)(void *context, uint64_t cluster, uint64_t *count);
	void *context;
};

enum qcow2_copied { QCOW2_COPIED_LOOK, QCOW2_COPIED_CLEAR, QCOW2_COPIED_FIX };

/*
 * Compares the COPIED bits of the active tables with the counts: adds to *wrong those that are not so. CLEAR takes away those that are there wrongly (which would
 * damage what shares the cluster); FIX also sets those that are missing. Written when it returns, not stable.
 */
enum status qcow2_copied_pass(struct qcow2 *q, const struct qcow2_counter *counter, enum qcow2_copied what,
			      uint64_t *wrong) must_check;

#endif
