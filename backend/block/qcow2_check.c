/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_check.c - counts all references of an image and compares: see qcow2_check.h. The repair is in qcow2_repair.c.
 */
#include "qcow2_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <holon/host.h>

#include "qcow2_repair.h"
#include "qcow2_snapshot.h"

#define COUNTS_MAX (UINT64_C(1) << 34) /* clusters of a file that can be checked */

void qcow2_finding(struct qcow2_counts *counts, uint64_t *kind, const char *format, ...)
{
	char text[200];
	va_list arguments;

	++*kind;
	if (counts->check->quiet)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	host_log(HOST_LOG_WARN, "disk %s: %s", counts->q->file.path, text);
}

static void refer_times(struct qcow2_counts *counts, uint64_t offset, uint64_t bytes, uint32_t times, const char *what)
{
	const struct qcow2 *q = counts->q;
	uint64_t cluster = offset >> q->cluster_bits, end = qcow2_clusters(q, offset + bytes);

	if (end > counts->clusters) {
		counts->hopeless++;
		qcow2_finding(counts, &counts->check->corruptions, "%s at %llx is behind the file's end", what,
			      (unsigned long long)offset);
		end = end < counts->room ? end : counts->room; /* counted all the same: a repair puts nothing there */
	}
	for (; cluster < end; cluster++) {
		counts->count[cluster] += times < UINT32_MAX - counts->count[cluster] ? times : UINT32_MAX - counts->count[cluster];
		if (counts->used < cluster + 1)
			counts->used = cluster + 1;
	}
}

void qcow2_refer(struct qcow2_counts *counts, uint64_t offset, uint64_t bytes, const char *what)
{
	refer_times(counts, offset, bytes, 1, what);
}

/* The same of what is no part of a snapshot and of the active disk at once: nobody else may refer to it. */
static void refer_alone(struct qcow2_counts *counts, uint64_t offset, uint64_t bytes, const char *what)
{
	const struct qcow2 *q = counts->q;
	uint64_t first = offset >> q->cluster_bits;

	qcow2_refer(counts, offset, bytes, what);
	if (bytes)
		qcow2_frees_add(&counts->alone, first, qcow2_clusters(q, offset + bytes) - first);
}

/* Tables one on top of the other: a repair could only make that worse. */
static void alone_check(struct qcow2_counts *counts)
{
	for (unsigned i = 0; i < counts->alone.count; i++) {
		const struct qcow2_free *run = &counts->alone.run[i];

		for (uint64_t cluster = run->first; cluster < run->first + run->count && cluster < counts->clusters; cluster++) {
			if (counts->count[cluster] < 2)
				continue;
			counts->hopeless++;
			qcow2_finding(counts, &counts->check->corruptions, "the table at %llx is used for something else too",
				      (unsigned long long)cluster << counts->q->cluster_bits);
		}
	}
	free(counts->alone.run);
	counts->alone = (struct qcow2_frees){NULL, 0, 0};
}

enum status qcow2_visited(void *context, const struct qcow2_visit *visit)
{
	struct qcow2_counts *counts = context;
	struct qcow2_check *check = counts->check;

	switch (visit->kind) {
	case QCOW2_VISIT_TABLE: refer_times(counts, visit->offset, visit->bytes, visit->times, "an L2 table"); break;
	case QCOW2_VISIT_PACKED:
		check->packed += counts->active ? visit->times : 0;
		check->allocated += counts->active ? visit->times : 0;
		refer_times(counts, visit->offset, visit->bytes, visit->times, "a compressed cluster");
		break;
	case QCOW2_VISIT_DATA:
		check->allocated += counts->active ? visit->times : 0;
		refer_times(counts, visit->offset, visit->bytes, visit->times, "data");
		break;
	case QCOW2_VISIT_WRONG:
		counts->hopeless++;
		qcow2_finding(counts, &check->corruptions, "the entry %llx for the guest's byte %llu makes no sense",
			      (unsigned long long)visit->word, (unsigned long long)visit->guest);
		break;
	}
	return STATUS_OK;
}

static enum status snapshots_count(struct qcow2_counts *counts)
{
	struct qcow2 *q = counts->q;
	struct qcow2_snapshots list;
	enum status status = qcow2_snapshots_read(q, &list, NULL);

	if (status)
		return status;
	refer_alone(counts, q->snapshots_offset, q->snapshots_bytes, "the table of snapshots");
	for (uint32_t i = 0; !status && i < list.count; i++) {
		uint64_t *l1;

		refer_alone(counts, list.snapshot[i].l1_offset, (uint64_t)list.snapshot[i].l1_size * 8, "a snapshot's L1 table");
		status = qcow2_snapshot_l1(q, &list.snapshot[i], &l1);
		if (!status)
			status = qcow2_walk(q, l1, list.snapshot[i].l1_size, qcow2_visited, counts);
		free(l1);
	}
	qcow2_snapshots_free(&list);
	return status;
}

/* QEMU's dirty bitmaps: a directory of tables of clusters. Holon keeps them only as long as it does not write. */
static enum status bitmap_count(struct qcow2_counts *counts, uint64_t table, uint32_t entries)
{
	struct qcow2 *q = counts->q;
	uint8_t entry[8];
	enum status status = STATUS_OK;

	qcow2_refer(counts, table, (uint64_t)entries * 8, "a bitmap's table");
	for (uint32_t i = 0; !status && i < entries; i++) {
		status = image_file_read(&q->file, table + (uint64_t)i * 8, entry, sizeof(entry));
		if (!status && qcow2_get64(entry) & QCOW2_ENTRY_OFFSET)
			qcow2_refer(counts, qcow2_get64(entry) & QCOW2_ENTRY_OFFSET, q->cluster_size, "a bitmap");
	}
	return status;
}

static enum status bitmaps_count(struct qcow2_counts *counts)
{
	struct qcow2 *q = counts->q;
	uint64_t at = q->bitmaps_offset, end = at + q->bitmaps_bytes;
	uint8_t entry[24];
	uint64_t room = counts->clusters << q->cluster_bits; /* for all tables: they may not lie on each other */
	enum status status = STATUS_OK;

	if (!(q->autoclear & QCOW2_AUTOCLEAR_BITMAPS) || !at)
		return STATUS_OK;
	if (q->bitmaps_bytes > QCOW2_SNAPSHOT_TABLE_BYTES_MAX || at >= QCOW2_OFFSET_MAX) {
		qcow2_finding(counts, &counts->check->corruptions, "the directory of bitmaps makes no sense");
		return STATUS_OK;
	}
	qcow2_refer(counts, at, q->bitmaps_bytes, "the directory of bitmaps");
	for (uint32_t i = 0; !status && i < q->bitmaps && at + sizeof(entry) <= end; i++) {
		uint64_t table, bytes;
		uint32_t entries;

		status = image_file_read(&q->file, at, entry, sizeof(entry));
		table = qcow2_get64(entry);
		entries = qcow2_get32(entry + 8);
		bytes = sizeof(entry) + qcow2_get16(entry + 18) + (uint64_t)qcow2_get32(entry + 20);
		if (!status && table < QCOW2_OFFSET_MAX && entries <= QCOW2_L1_BYTES_MAX / 8) {
			if ((uint64_t)entries * 8 > room) {
				counts->hopeless++;
				qcow2_finding(counts, &counts->check->corruptions,
					      "the tables of bitmaps are longer than the file");
				break;
			}
			room -= (uint64_t)entries * 8;
			status = bitmap_count(counts, table, entries);
		}
		at += (bytes + 7) & ~UINT64_C(7);
	}
	return status;
}

enum status qcow2_references_count(struct qcow2_counts *counts)
{
	struct qcow2 *q = counts->q;
	enum status status;

	refer_alone(counts, 0, q->cluster_size, "the header");
	refer_alone(counts, q->l1_offset, (uint64_t)q->l1_size * 8, "the L1 table");
	counts->active = true;
	status = qcow2_walk(q, q->l1, q->l1_size, qcow2_visited, counts);
	counts->active = false;
	if (!status)
		status = snapshots_count(counts);
	if (!status)
		status = bitmaps_count(counts);
	alone_check(counts);
	return status;
}

/* Its own flaws mean that it must be made anew. */
void qcow2_structure_count(struct qcow2_counts *counts)
{
	struct qcow2 *q = counts->q;

	counts->file_clusters = counts->clusters;
	if ((q->table_offset >> q->cluster_bits) + q->table_clusters > counts->clusters) {
		counts->rebuild = true;
		qcow2_finding(counts, &counts->check->corruptions, "the refcount table is behind the file's end");
	} else {
		qcow2_refer(counts, q->table_offset, (uint64_t)q->table_clusters << q->cluster_bits, "the refcount table");
	}
	for (uint64_t i = 0; i < q->table_size; i++) {
		if (!q->table[i])
			continue;
		if (!qcow2_aligned(q, q->table[i]) || q->table[i] >> q->cluster_bits >= counts->clusters) {
			counts->rebuild = true;
			qcow2_finding(counts, &counts->check->corruptions, "the refcount block at %llx makes no sense",
				      (unsigned long long)q->table[i]);
			continue;
		}
		qcow2_refer(counts, q->table[i], q->cluster_size, "a refcount block");
		if (counts->count[q->table[i] >> q->cluster_bits] > 1) {
			counts->rebuild = true;
			qcow2_finding(counts, &counts->check->corruptions,
				      "the refcount block at %llx is used for something else too", (unsigned long long)q->table[i]);
		}
	}
}

static void count_compare(struct qcow2_counts *counts, uint64_t cluster, uint64_t disk)
{
	struct qcow2_check *check = counts->check;
	uint64_t offset = cluster << counts->q->cluster_bits, count = cluster < counts->room ? counts->count[cluster] : 0;

	if (disk == count)
		return;
	counts->rebuild = true;
	if (disk < count)
		qcow2_finding(counts, &check->corruptions, "the cluster at %llx is used %llu times and counted as %llu",
			      (unsigned long long)offset, (unsigned long long)count, (unsigned long long)disk);
	else
		qcow2_finding(counts, &check->leaks, "the cluster at %llx is used %llu times and counted as %llu: a leak",
			      (unsigned long long)offset, (unsigned long long)count, (unsigned long long)disk);
}

static enum status counts_compare(struct qcow2_counts *counts)
{
	struct qcow2 *q = counts->q;
	uint8_t *block = malloc(q->cluster_size);
	uint64_t per_block = UINT64_C(1) << q->block_bits, end = counts->clusters > counts->used ? counts->clusters : counts->used;
	uint64_t blocks = (end + per_block - 1) / per_block;
	enum status status = block ? STATUS_OK : STATUS_NO_MEMORY;

	for (uint64_t i = 0; !status && (i < blocks || i < q->table_size); i++) {
		uint64_t offset = i < q->table_size ? q->table[i] : 0;
		bool there = offset && qcow2_aligned(q, offset) && offset >> q->cluster_bits < counts->clusters;

		if (!there && i >= blocks)
			continue;
		memset(block, 0, q->cluster_size);
		if (there)
			status = image_file_read(&q->file, offset, block, q->cluster_size);
		for (uint64_t j = 0; !status && j < per_block; j++)
			count_compare(counts, (i << q->block_bits) + j, qcow2_refcount_of(block, q->refcount_order, j));
	}
	free(block);
	return status;
}

static enum status counter_count(void *context, uint64_t cluster, uint64_t *count)
{
	const struct qcow2_counts *counts = context;

	*count = cluster < counts->room ? counts->count[cluster] : 0;
	return STATUS_OK;
}

static enum status check_run(struct qcow2_counts *counts)
{
	struct qcow2_check *check = counts->check;
	struct qcow2_counter counter = {counter_count, counts};
	uint64_t wrong = 0;
	enum status status = qcow2_references_count(counts);

	qcow2_structure_count(counts);
	if (!status)
		status = counts_compare(counts);
	if (!status)
		status = qcow2_copied_pass(counts->q, &counter, QCOW2_COPIED_LOOK, &wrong);
	if (wrong && !check->quiet)
		host_log(HOST_LOG_WARN, "disk %s: %llu table entries are wrong about who else uses their cluster",
			 counts->q->file.path, (unsigned long long)wrong);
	check->corruptions += wrong;
	check->clusters = qcow2_clusters(counts->q, counts->q->size);
	check->end = counts->used << counts->q->cluster_bits;
	if (!status && check->repair)
		status = qcow2_repair(counts, &counter, wrong);
	return status;
}

enum status qcow2_counts_make(struct qcow2_counts *counts, struct qcow2 *q, struct qcow2_check *check, struct reason *why)
{
	uint64_t length;
	enum status status = image_file_length(&q->file, &length);

	*counts = (struct qcow2_counts){.q = q, .check = check};
	if (status)
		return reason_give(why, status, "disk %s: its length cannot be found", q->file.path);
	counts->clusters = qcow2_clusters(q, length);
	if (counts->clusters > COUNTS_MAX)
		return reason_give(why, STATUS_UNSUPPORTED, "disk %s: its file has too many clusters to be counted", q->file.path);
	/* New tables and blocks may be put behind the end. Pages that nothing is counted on cost nothing. */
	counts->room = 2 * counts->clusters + 4096;
	counts->count = mmap(NULL, counts->room * sizeof(uint32_t), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (counts->count != MAP_FAILED)
		return STATUS_OK;
	counts->count = NULL;
	return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", q->file.path);
}

void qcow2_counts_drop(struct qcow2_counts *counts)
{
	if (counts->count)
		munmap(counts->count, counts->room * sizeof(uint32_t));
	counts->count = NULL;
}

enum status qcow2_check(struct qcow2 *q, struct qcow2_check *check, struct reason *why)
{
	struct qcow2_counts counts;
	enum status status = qcow2_counts_make(&counts, q, check, why);

	if (status)
		return status;
	status = check_run(&counts);
	qcow2_counts_drop(&counts);
	if (status)
		return reason_give(why, status, "disk %s: it cannot be checked: %s", q->file.path, status_name(status));
	return STATUS_OK;
}
