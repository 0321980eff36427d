/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_repair.h - what the check has counted, for qcow2_repair.c to write.
 */
#ifndef HOLON_BLOCK_QCOW2_REPAIR_H
#define HOLON_BLOCK_QCOW2_REPAIR_H

#include "qcow2_check.h"
#include "qcow2_walk.h"

struct qcow2_counts {
	struct qcow2 *q;
	struct qcow2_check *check;
	uint32_t *count;          /* references on each cluster of the file */
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

#endif
