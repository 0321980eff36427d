/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_allocate.c - finds free clusters, makes the refcount blocks and the table that count them. Called under `mutate`.
 *
 * The search begins at the first cluster that may be free, so what is written in a row lies in a row. Clusters that no block counts yet are free;
 * a block for them is put right behind what is allocated, inside the run that is counted. When the table of blocks is full, a larger one goes where the old one's
 * reach ends, and the header turns to it in one write.
 */
#include <stdlib.h>

#include <holon/host.h>

#include "qcow2_image.h"

#define VOUCH 4096 /* clusters at a time */

static bool block_missing(const struct qcow2 *q, uint64_t block)
{
	return block >= q->table_size || !q->table[block];
}

/* The first cluster behind the block that counts `cluster`. */
static uint64_t block_end(const struct qcow2 *q, uint64_t cluster)
{
	return ((cluster >> q->block_bits) + 1) << q->block_bits;
}

/* A run of `wanted` free clusters, or, not `whole`, what there is of it first and inside one block's reach. */
static enum status run_find(struct qcow2 *q, uint64_t wanted, bool whole, uint64_t *first, uint64_t *found)
{
	uint64_t at = q->free_from, start = at; /* the run is [start, at) */
	bool leading = true;                    /* no free cluster has been seen: the next search may begin here */

	while (at - start < wanted) {
		uint64_t count = 0, step = 1;
		enum status status = STATUS_OK;

		if (at >= QCOW2_OFFSET_MAX >> q->cluster_bits)
			return STATUS_NO_SPACE;
		if (!whole && at > start && at == block_end(q, at - 1))
			break;
		if (block_missing(q, at >> q->block_bits)) {
			step = block_end(q, at) - at;
			if (step > wanted - (at - start))
				step = wanted - (at - start);
		} else {
			status = qcow2_refcount_get(q, at, &count);
		}
		if (status)
			return status;
		if (count && !whole && at > start)
			break;
		at += step;
		leading = leading && count;
		if (leading)
			q->free_from = at;
		if (count)
			start = at;
	}
	*first = start;
	*found = at - start;
	return STATUS_OK;
}

static uint64_t blocks_missing(const struct qcow2 *q, uint64_t first, uint64_t count)
{
	uint64_t missing = 0;

	for (uint64_t block = first >> q->block_bits; block <= (first + count - 1) >> q->block_bits; block++)
		missing += block_missing(q, block);
	return missing;
}

void qcow2_span_add(struct qcow2_span *span, uint64_t from, uint64_t to)
{
	if (span->from == span->to)
		*span = (struct qcow2_span){from, to};
	if (from < span->from)
		span->from = from;
	if (to > span->to)
		span->to = to;
}

static void block_place(struct qcow2 *q, uint64_t block, uint64_t offset)
{
	q->table[block] = offset;
	qcow2_span_add(&q->table_dirty, block, block + 1);
	atomic_store(&q->dirty, true);
}

/* Makes the blocks that count [first, first + count), the last of which they lie in. */
static enum status blocks_make(struct qcow2 *q, uint64_t first, uint64_t count, uint64_t missing)
{
	uint64_t begin = first >> q->block_bits, end = ((first + count - 1) >> q->block_bits) + 1, block;
	uint64_t place = (first + count - missing) << q->cluster_bits, lowest = place;
	enum status status = STATUS_OK;

	for (block = begin; !status && block < end; block++) {
		if (!block_missing(q, block))
			continue;
		status = image_file_zero(&q->file, place, q->cluster_size, false);
		if (!status)
			block_place(q, block, place);
		place += q->cluster_size;
	}
	for (block = begin; status && block < end; block++)
		if (q->table[block] >= lowest && q->table[block] < place)
			block_place(q, block, 0);
	return status;
}

/* Into `buffer`: the block that counts one reference on each of [first, first + count). */
static void block_fill(const struct qcow2 *q, uint8_t *buffer, uint64_t block, uint64_t first, uint64_t count)
{
	uint64_t begin = block << q->block_bits, cluster;

	memset(buffer, 0, q->cluster_size);
	for (cluster = first > begin ? first : begin; cluster < first + count && cluster < block_end(q, begin); cluster++)
		qcow2_refcount_set(buffer, q->refcount_order, cluster - begin, 1);
}

/* Writes blocks and the new table, at [first, first + blocks) and behind that; stable before the header turns to it. */
static enum status table_write(struct qcow2 *q, const uint64_t *table, uint64_t size, uint64_t first, uint64_t blocks)
{
	uint64_t clusters = blocks + qcow2_clusters(q, size * 8), i;
	uint8_t *buffer = malloc(q->cluster_size);
	uint64_t *raw = calloc(size, 8);
	enum status status = buffer && raw ? STATUS_OK : STATUS_NO_MEMORY;

	for (i = 0; !status && i < blocks; i++) {
		block_fill(q, buffer, (first >> q->block_bits) + i, first, clusters);
		status = image_file_write(&q->file, (first + i) << q->cluster_bits, buffer, q->cluster_size);
	}
	for (i = 0; !status && i < size; i++)
		qcow2_put64(&raw[i], table[i]);
	if (!status)
		status = image_file_write(&q->file, (first + blocks) << q->cluster_bits, raw, size * 8);
	if (!status)
		status = image_file_sync(&q->file);
	free(buffer);
	free(raw);
	return status;
}

static void table_place(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
	pthread_mutex_lock(&q->lock);
	q->table_offset = offset;
	q->table_clusters = (uint32_t)clusters;
	pthread_mutex_unlock(&q->lock);
}

/* A larger table, at least `needed` blocks long. It lies behind what the old one counts, so its own clusters need new blocks only. */
static enum status table_grow(struct qcow2 *q, uint64_t needed)
{
	uint64_t first = q->table_size << q->block_bits, entries = q->cluster_size / 8;
	uint64_t old_offset = q->table_offset, old_clusters = q->table_clusters, old_size = q->table_size;
	uint64_t blocks = 1, size, *table;
	enum status status;

	size = needed + q->table_size / 2 + entries - 1;
	size -= size % entries;
	while (((blocks + qcow2_clusters(q, size * 8) - 1) >> q->block_bits) + 1 > blocks)
		blocks++;
	while (size < q->table_size + blocks)
		size += entries;
	if (size * 8 > QCOW2_REFCOUNT_TABLE_BYTES_MAX) {
		host_log(HOST_LOG_WARN, "disk %s: the image is as large as its cluster size allows", q->file.path);
		return STATUS_NO_SPACE;
	}
	table = calloc(size, 8);
	if (!table)
		return STATUS_NO_MEMORY;
	memcpy(table, q->table, q->table_size * 8);
	for (uint64_t i = 0; i < blocks; i++)
		table[q->table_size + i] = (first + i) << q->cluster_bits;
	status = table_write(q, table, size, first, blocks);
	if (!status) {
		table_place(q, (first + blocks) << q->cluster_bits, size / entries);
		status = qcow2_header_update(q);
	}
	if (status) {
		/* The header may name either: both are whole, and the new one's clusters are in nobody's way. */
		table_place(q, old_offset, old_clusters);
		free(table);
		return status;
	}
	free(q->table);
	q->table = table;
	q->table_size = size;
	q->table_dirty = (struct qcow2_span){0, 0};
	if (q->fresh_from < first + blocks + q->table_clusters)
		q->fresh_from = first + blocks + q->table_clusters;
	qcow2_free_later(q, old_offset, old_size * 8);
	return STATUS_OK;
}

/* A table at [offset, offset + bytes) has a reference on each cluster that lies in the window, or the counts are wrong. */
static enum status table_vouch(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	uint64_t first = offset >> q->cluster_bits, end = qcow2_clusters(q, offset + bytes), count;
	enum status status;

	if (first < q->vouched_from)
		first = q->vouched_from;
	if (end > q->vouched_to)
		end = q->vouched_to;
	for (; first < end; first++) {
		status = qcow2_refcount_get(q, first, &count);
		if (status)
			return status;
		if (!count)
			return qcow2_corrupt(q, "the table at %llx is counted as free", (unsigned long long)offset);
	}
	return STATUS_OK;
}

/* Before a run is handed out: with wrong counts it could be a table. Looks at a window of clusters at a time. */
static enum status run_vouch(struct qcow2 *q, uint64_t first, uint64_t count)
{
	enum status status;
	uint64_t i;

	if (first >= q->vouched_from && first + count <= q->vouched_to)
		return STATUS_OK;
	q->vouched_from = first;
	q->vouched_to = first + (count < VOUCH ? VOUCH : count);
	status = table_vouch(q, 0, q->cluster_size);
	if (!status)
		status = table_vouch(q, q->l1_offset, (uint64_t)q->l1_size * 8);
	if (!status)
		status = table_vouch(q, q->table_offset, (uint64_t)q->table_clusters << q->cluster_bits);
	if (!status)
		status = table_vouch(q, q->snapshots_offset, q->snapshots_bytes);
	for (i = 0; !status && i < q->table_size; i++)
		if (q->table[i])
			status = table_vouch(q, q->table[i], q->cluster_size);
	for (i = 0; !status && i < q->l1_size; i++)
		if (q->l1[i] & QCOW2_ENTRY_OFFSET)
			status = table_vouch(q, q->l1[i] & QCOW2_ENTRY_OFFSET, q->cluster_size);
	if (status)
		q->vouched_from = q->vouched_to = 0;
	return status;
}

/* Chooses [first, first + *count) with its missing blocks at its end. */
static enum status run_choose(struct qcow2 *q, uint64_t wanted, bool whole, uint64_t *first, uint64_t *count, uint64_t *missing)
{
	uint64_t extra = 0, end, found = 0;
	enum status status;

	for (;;) {
		status = run_find(q, wanted + extra, whole, first, &found);
		if (status)
			return status;
		*missing = blocks_missing(q, *first, found);
		if (!whole && *missing) {
			/* A missing block counts nothing yet, so the run begins where its reach does. */
			end = block_end(q, *first);
			found = *first + found + 1 < end ? found + 1 : end - *first;
		}
		end = *first + found;
		if (end > QCOW2_OFFSET_MAX >> q->cluster_bits)
			return STATUS_NO_SPACE;
		if (((end - 1) >> q->block_bits) >= q->table_size) {
			status = table_grow(q, ((end - 1) >> q->block_bits) + 1);
			if (status)
				return status;
			extra = 0;
			continue;
		}
		if (!whole || *missing <= extra)
			break;
		extra = *missing;
	}
	*count = whole ? wanted + *missing : found;
	return STATUS_OK;
}

enum status qcow2_allocate(struct qcow2 *q, uint64_t wanted, bool whole, struct qcow2_run *run)
{
	uint64_t first = 0, count = 0, missing = 0;
	enum status status = run_choose(q, wanted, whole, &first, &count, &missing);

	if (!status)
		status = run_vouch(q, first, count);
	if (!status && missing)
		status = blocks_make(q, first, count, missing);
	if (status)
		return status;
	status = qcow2_refcount_add(q, first, count, 1);
	if (status)
		return missing ? qcow2_corrupt(q, "a new refcount block could not be filled") : status;
	run->offset = first << q->cluster_bits;
	run->count = count - missing;
	run->fresh = first >= q->fresh_from;
	if (q->fresh_from < first + count)
		q->fresh_from = first + count;
	return STATUS_OK;
}

void qcow2_free_now(struct qcow2 *q, uint64_t offset, uint64_t count)
{
	if (qcow2_refcount_add(q, offset >> q->cluster_bits, count, -1))
		host_log(HOST_LOG_WARN, "disk %s: %llu clusters are lost until it is checked and repaired", q->file.path,
			 (unsigned long long)count);
}

void qcow2_frees_add(struct qcow2_frees *frees, uint64_t first, uint64_t count)
{
	struct qcow2_free *last = frees->count ? &frees->run[frees->count - 1] : NULL;

	if (last && last->first + last->count == first) {
		last->count += count;
		return;
	}
	if (frees->count == frees->room) {
		unsigned room = frees->room ? frees->room * 2 : 64;
		struct qcow2_free *run = realloc(frees->run, room * sizeof(*run));

		if (!run)
			return; /* they leak: no harm to what is stored */
		frees->run = run;
		frees->room = room;
	}
	frees->run[frees->count++] = (struct qcow2_free){first, count};
}

void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	uint64_t first = offset >> q->cluster_bits;

	qcow2_frees_add(&q->frees, first, qcow2_clusters(q, offset + bytes) - first);
	atomic_store(&q->dirty, true);
}
