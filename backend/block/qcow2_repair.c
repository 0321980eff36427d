/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_repair.c - writes the counts of a check as a new refcount structure.
 *
 * First COPIED bits that are there wrongly go: from then on nothing shared is written in place. Then new blocks and a new table are written to clusters
 * that nobody uses, made stable, and the header turns to them in one write that also clears the marks of a dirty or damaged image, or marks one as damaged that cannot be mended. Last,
 * COPIED bits that are missing are set. Cut off anywhere, the image is as good as before or better.
 */
#include <stdlib.h>

#include "qcow2_repair.h"

/* The old structure's clusters kept the new one away, for it is in use until the header turns; they are not counted there. */
static void old_structure_forget(struct qcow2_counts *counts)
{
	struct qcow2 *q = counts->q;
	uint64_t first = q->table_offset >> q->cluster_bits, i;

	for (i = 0; i < q->table_clusters && first + q->table_clusters <= counts->file_clusters; i++)
		counts->count[first + i]--;
	for (i = 0; i < q->table_size; i++) {
		if (q->table[i] && qcow2_aligned(q, q->table[i]) && q->table[i] >> q->cluster_bits < counts->file_clusters)
			counts->count[q->table[i] >> q->cluster_bits]--;
	}
}

enum status qcow2_place_find(struct qcow2_counts *counts, uint64_t *from, uint64_t wanted, uint64_t *offset)
{
	uint64_t run = 0, at;

	for (at = *from; run < wanted; at++) {
		if (at >= counts->room)
			return STATUS_NO_SPACE;
		run = counts->count[at] ? 0 : run + 1;
	}
	*offset = (at - wanted) << counts->q->cluster_bits;
	for (uint64_t i = at - wanted; i < at; i++)
		counts->count[i] = 1;
	if (counts->clusters < at)
		counts->clusters = at;
	if (counts->used < at)
		counts->used = at;
	if (wanted == 1)
		*from = at;
	return STATUS_OK;
}

static bool block_wanted(const struct qcow2_counts *counts, uint64_t block)
{
	uint64_t at = block << counts->q->block_bits, end = at + (UINT64_C(1) << counts->q->block_bits);

	for (; at < end && at < counts->used; at++)
		if (counts->count[at])
			return true;
	return false;
}

/* Finds places until every block with a count other than zero has one. */
enum status qcow2_structure_place(struct qcow2_counts *counts, struct qcow2_structure *new)
{
	struct qcow2 *q = counts->q;
	uint64_t entries = q->cluster_size / 8, blocks = (counts->room >> q->block_bits) + 1, from = 0;
	enum status status;
	bool more = true;

	new->size = ((counts->used + counts->used / 64) >> q->block_bits) + 2;
	new->size += (entries - new->size % entries) % entries;
	new->clusters = new->size / entries;
	if (new->clusters << q->cluster_bits > QCOW2_REFCOUNT_TABLE_BYTES_MAX)
		return STATUS_NO_SPACE;
	new->table = calloc(new->size > blocks ? new->size : blocks, 8);
	status = new->table ? qcow2_place_find(counts, &from, new->clusters, &new->offset) : STATUS_NO_MEMORY;
	while (!status && more) {
		more = false;
		for (uint64_t i = 0; !status && i < blocks && i << q->block_bits < counts->used; i++) {
			if (new->table[i] || !block_wanted(counts, i))
				continue;
			status = i < new->size ? qcow2_place_find(counts, &from, 1, &new->table[i]) : STATUS_NO_SPACE;
			more = true;
		}
	}
	return status;
}

enum status qcow2_structure_write(struct qcow2_counts *counts, const struct qcow2_structure *new)
{
	struct qcow2 *q = counts->q;
	uint8_t *block = malloc(q->cluster_size), *raw = calloc(new->size, 8);
	enum status status = block && raw ? STATUS_OK : STATUS_NO_MEMORY;

	for (uint64_t i = 0; !status && i < new->size; i++) {
		qcow2_put64(raw + i * 8, new->table[i]);
		if (!new->table[i])
			continue;
		memset(block, 0, q->cluster_size);
		for (uint64_t j = 0; j < UINT64_C(1) << q->block_bits; j++) {
			uint64_t cluster = (i << q->block_bits) + j, count = cluster < counts->used ? counts->count[cluster] : 0;

			qcow2_refcount_set(block, q->refcount_order, j, count < q->refcount_max ? count : q->refcount_max);
		}
		status = image_file_write(&q->file, new->table[i], block, q->cluster_size);
	}
	if (!status)
		status = image_file_write(&q->file, new->offset, raw, new->size * 8);
	if (!status)
		status = image_file_sync(&q->file);
	free(block);
	free(raw);
	return status;
}

/* Counts above what a refcount's bits hold: more may be decremented than were counted, so they must be left alone. */
static void overflows_find(struct qcow2_counts *counts)
{
	for (uint64_t i = 0; i < counts->used; i++)
		if (counts->count[i] > counts->q->refcount_max) {
			counts->hopeless++;
			qcow2_finding(counts, &counts->check->corruptions,
				      "the cluster at %llx is used more often than can be counted",
				      (unsigned long long)i << counts->q->cluster_bits);
		}
}

void qcow2_structure_take(struct qcow2_counts *counts, struct qcow2_structure *new)
{
	struct qcow2 *q = counts->q;

	free(q->table);
	q->table = new->table;
	q->table_size = new->size;
	q->table_offset = new->offset;
	q->table_clusters = (uint32_t) new->clusters;
	q->table_dirty = (struct qcow2_span){0, 0};
	new->table = NULL;
	qcow2_cache_forget(&q->refcounts, 0, UINT64_MAX, NULL);
	q->free_from = 0;
	q->vouched_from = q->vouched_to = 0;
	if (q->fresh_from < counts->used)
		q->fresh_from = counts->used;
}

static enum status rebuild(struct qcow2_counts *counts)
{
	struct qcow2_structure new = {0};
	enum status status;

	overflows_find(counts);
	status = qcow2_structure_place(counts, &new);
	old_structure_forget(counts);
	if (!status)
		status = qcow2_structure_write(counts, &new);
	if (!status)
		qcow2_structure_take(counts, &new);
	free(new.table);
	return status;
}

enum status qcow2_repair(struct qcow2_counts *counts, const struct qcow2_counter *counter, uint64_t copied)
{
	struct qcow2 *q = counts->q;
	struct qcow2_check *check = counts->check;
	uint64_t again = 0, marks = 0;
	enum status status = STATUS_OK;

	if (counts->rebuild || copied) {
		/* References of the old structure are still counted, which errs on the safe side. */
		status = qcow2_copied_pass(q, counter, QCOW2_COPIED_CLEAR, &again);
		if (!status)
			status = image_file_sync(&q->file);
	}
	if (!status && counts->rebuild)
		status = rebuild(counts);
	if (counts->hopeless && q->version >= 3)
		marks = QCOW2_INCOMPATIBLE_CORRUPT; /* nobody writes to it, by QEMU either */
	marks |= q->incompatible & ~(uint64_t)(QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT);
	if (!status && (counts->rebuild || q->incompatible != marks || atomic_load(&q->corrupt) != (counts->hopeless != 0))) {
		q->incompatible = marks;
		atomic_store(&q->corrupt, counts->hopeless != 0);
		status = qcow2_header_update(q);
	}
	if (!status)
		status = qcow2_copied_pass(q, counter, QCOW2_COPIED_FIX, &again);
	if (!status)
		status = image_file_sync(&q->file);
	if (status)
		return status;
	check->leaks_fixed = check->leaks;
	check->corruptions_fixed = check->corruptions - counts->hopeless;
	return STATUS_OK;
}
