/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_resize.c - other sizes of the guest's disk, and emptying it. No request is under way.
 *
 * Growing: a longer L1 table first, then zeroes where a longer backing file would show through, then the size. Shrinking: the size first, then what lay behind it.
 * Whenever that is cut off, what the guest sees is the old disk or the new one.
 */
#include <stdlib.h>

#include "qcow2.h"
#include "qcow2_image.h"

static uint64_t l1_needed(const struct qcow2 *q, uint64_t size)
{
	uint64_t reach = UINT64_C(1) << (q->cluster_bits + q->l2_bits);

	return size / reach + (size % reach != 0);
}

static void l1_replace(struct qcow2 *q, uint64_t *l1, uint32_t size, uint64_t offset)
{
	pthread_mutex_lock(&q->lock);
	q->l1 = l1;
	q->l1_size = size;
	q->l1_offset = offset;
	q->l1_dirty = (struct qcow2_span){0, 0};
	qcow2_cache_limit(&q->l2, qcow2_l2_cache_bytes(q));
	pthread_mutex_unlock(&q->lock);
}

enum status qcow2_l1_move(struct qcow2 *q, const uint64_t *entries, uint32_t size)
{
	uint64_t *old = q->l1, old_offset = q->l1_offset, *l1 = calloc(size ? size : 1, 8), *raw = calloc(size ? size : 1, 8);
	uint32_t old_size = q->l1_size;
	struct qcow2_run run = {0};
	enum status status = l1 && raw ? STATUS_OK : STATUS_NO_MEMORY;

	for (uint32_t i = 0; !status && i < size; i++) {
		l1[i] = entries[i];
		qcow2_put64(&raw[i], l1[i]);
	}
	if (!status)
		status = qcow2_allocate(q, qcow2_clusters(q, (uint64_t)size * 8), true, &run);
	/* Also what is allocated only in memory so far must be counted before the header turns to it. */
	if (!status)
		status = image_file_write(&q->file, run.offset, raw, (uint64_t)size * 8);
	if (!status) {
		pthread_mutex_unlock(&q->mutate);
		status = qcow2_commit(q, true);
		pthread_mutex_lock(&q->mutate);
	}
	if (!status) {
		l1_replace(q, l1, size, run.offset);
		status = qcow2_header_update(q);
		if (status)
			l1_replace(q, old, old_size, old_offset);
	}
	free(raw);
	if (status) {
		if (run.count)
			qcow2_free_now(q, run.offset, run.count);
		free(l1);
		return status;
	}
	free(old);
	if (old_offset)
		qcow2_free_later(q, old_offset, (uint64_t)old_size * 8);
	return STATUS_OK;
}

static enum status l1_grow(struct qcow2 *q, uint64_t needed)
{
	uint64_t *l1 = calloc(needed, 8);
	enum status status = STATUS_NO_MEMORY;

	if (l1) {
		memcpy(l1, q->l1, (uint64_t)q->l1_size * 8);
		pthread_mutex_lock(&q->mutate);
		status = qcow2_l1_move(q, l1, (uint32_t)needed);
		pthread_mutex_unlock(&q->mutate);
	}
	free(l1);
	return status;
}

static enum status size_write(struct qcow2 *q, uint64_t size)
{
	uint64_t old = q->size;
	enum status status;

	pthread_mutex_lock(&q->mutate);
	q->size = size;
	status = qcow2_header_update(q);
	if (status)
		q->size = old;
	pthread_mutex_unlock(&q->mutate);
	return status;
}

/* The rest of the cluster in which the disk ends, and as much as the backing file would show. */
static enum status tail_zero(struct qcow2 *q, uint64_t from, uint64_t to)
{
	uint64_t end = (from + q->cluster_size - 1) & ~(q->cluster_size - 1);

	if (q->backing && q->backing->size > end)
		end = q->backing->size;
	if (end > to)
		end = to;
	return from < end ? qcow2_write_zeroes(q, from, end - from, true) : STATUS_OK;
}

static enum status grow(struct qcow2 *q, uint64_t size)
{
	uint64_t old = q->size;
	enum status status = qcow2_commit(q, true); /* then L1 on disk is L1 in memory */

	if (!status && l1_needed(q, size) > q->l1_size)
		status = l1_grow(q, l1_needed(q, size));
	if (!status)
		status = tail_zero(q, old, size);
	if (!status)
		status = qcow2_commit(q, true);
	return status ? status : size_write(q, size);
}

/* Frees L2 tables from `index` on; their entries refer to nothing any more. Under mutate. */
static void tables_free(struct qcow2 *q, uint64_t index)
{
	pthread_mutex_lock(&q->lock);
	for (; index < q->l1_size; index++) {
		uint64_t table = q->l1[index] & QCOW2_ENTRY_OFFSET;

		if (!table || !qcow2_aligned(q, table))
			continue;
		q->l1[index] = 0;
		qcow2_span_add(&q->l1_dirty, index, index + 1);
		qcow2_free_later(q, table, q->cluster_size);
	}
	pthread_mutex_unlock(&q->lock);
}

/* Entries of clusters from `offset` on become nothing, whatever lies behind them. */
static enum status entries_drop(struct qcow2 *q, uint64_t offset, uint64_t end)
{
	enum status status = STATUS_OK;

	while (!status && offset < end) {
		uint64_t reach = UINT64_C(1) << (q->cluster_bits + q->l2_bits), step = q->cluster_size;
		struct qcow2_slice *slice;
		unsigned at;

		status = qcow2_commit_if_much(q);
		if (status)
			break;
		pthread_mutex_lock(&q->mutate);
		status = qcow2_l2_get(q, offset, false, &slice, &at);
		if (!status && !slice)
			step = reach - (offset & (reach - 1));
		else if (!status)
			status = qcow2_l2_get(q, offset, true, &slice, &at);
		if (!status && slice) {
			struct qcow2_entry old = qcow2_entry_read(q, slice->bytes + at);

			if (old.word || old.bits) {
				qcow2_entry_write(q, slice, at, (struct qcow2_entry){0, 0});
				qcow2_entry_free(q, old);
			}
		}
		pthread_mutex_unlock(&q->mutate);
		offset += step;
	}
	return status;
}

static enum status shrink(struct qcow2 *q, uint64_t size)
{
	uint64_t keep = (size + q->cluster_size - 1) & ~(q->cluster_size - 1);
	uint64_t end = (uint64_t)q->l1_size << (q->cluster_bits + q->l2_bits);
	enum status status = qcow2_commit(q, true);

	if (!status)
		status = size_write(q, size);
	if (!status)
		status = entries_drop(q, keep, end);
	if (!status && keep > size)
		status = qcow2_write_zeroes(q, size, keep - size, true);
	if (status)
		return status;
	pthread_mutex_lock(&q->mutate);
	tables_free(q, l1_needed(q, keep));
	pthread_mutex_unlock(&q->mutate);
	return qcow2_commit(q, true);
}

enum status qcow2_resize(struct qcow2 *q, uint64_t size, struct reason *why)
{
	enum status status = STATUS_OK;

	if (size > INT64_MAX || l1_needed(q, size) > QCOW2_L1_BYTES_MAX / 8)
		return reason_give(why, STATUS_USAGE, "disk %s: clusters of %llu bytes do not reach that far; choose larger ones",
				   q->file.path, (unsigned long long)q->cluster_size);
	if (size < q->size && q->snapshots)
		return reason_give(why, STATUS_USAGE, "disk %s: it has snapshots, so it cannot shrink; delete them first",
				   q->file.path);
	if (size > q->size)
		status = grow(q, size);
	else if (size < q->size)
		status = shrink(q, size);
	if (status)
		return reason_give(why, status, "disk %s: it cannot be resized: %s", q->file.path, status_name(status));
	return STATUS_OK;
}

enum status qcow2_empty(struct qcow2 *q)
{
	enum status status = qcow2_commit(q, true);

	if (!status)
		status = entries_drop(q, 0, (uint64_t)q->l1_size << (q->cluster_bits + q->l2_bits));
	if (!status) {
		pthread_mutex_lock(&q->mutate);
		tables_free(q, 0);
		pthread_mutex_unlock(&q->mutate);
		status = qcow2_commit(q, true);
	}
	return status;
}
