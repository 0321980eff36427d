/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_map.c - from a place on the guest's disk to a place in the file: L1, L2 tables and their entries, plain and extended.
 *
 * L1 is in memory, L2 in the cache. A quick look (qcow2_extent_peek) needs `lock` alone; what is not in the cache it calls UNKNOWN.
 */
#include <stdlib.h>

#include "qcow2_image.h"

struct qcow2_entry qcow2_entry_read(const struct qcow2 *q, const uint8_t *at)
{
	return (struct qcow2_entry){qcow2_get64(at), q->units > 1 ? qcow2_get64(at + 8) : 0};
}

void qcow2_entry_write(struct qcow2 *q, struct qcow2_slice *slice, unsigned at, struct qcow2_entry entry)
{
	pthread_mutex_lock(&q->lock);
	qcow2_put64(slice->bytes + at, entry.word);
	if (q->units > 1)
		qcow2_put64(slice->bytes + at + 8, entry.bits);
	qcow2_slice_dirty(q, &q->l2, slice);
	pthread_mutex_unlock(&q->lock);
}

/* A compressed entry's bits below `shift` are the offset, those above count further sectors. */
static unsigned packed_shift(const struct qcow2 *q)
{
	return 62 - (q->cluster_bits - 8);
}

void qcow2_packed_place(const struct qcow2 *q, uint64_t word, uint64_t *host, uint64_t *bytes)
{
	uint64_t sectors = ((word & ~(QCOW2_ENTRY_COPIED | QCOW2_ENTRY_COMPRESSED)) >> packed_shift(q)) + 1;

	*host = word & ((UINT64_C(1) << packed_shift(q)) - 1);
	*bytes = sectors * QCOW2_SECTOR - *host % QCOW2_SECTOR;
}

uint64_t qcow2_packed_word(const struct qcow2 *q, uint64_t host, uint64_t bytes)
{
	uint64_t sectors = (host % QCOW2_SECTOR + bytes - 1) / QCOW2_SECTOR;

	return QCOW2_ENTRY_COMPRESSED | sectors << packed_shift(q) | host;
}

void qcow2_entry_free(struct qcow2 *q, struct qcow2_entry entry)
{
	uint64_t host, bytes;

	if (entry.word & QCOW2_ENTRY_COMPRESSED) {
		qcow2_packed_place(q, entry.word, &host, &bytes);
		qcow2_free_later(q, host, bytes);
	} else if (!qcow2_aligned(q, entry.word & QCOW2_ENTRY_OFFSET)) {
		if (qcow2_corrupt(q, "an L2 entry is %llx", (unsigned long long)entry.word))
			return;
	} else if (entry.word & QCOW2_ENTRY_OFFSET) {
		qcow2_free_later(q, entry.word & QCOW2_ENTRY_OFFSET, q->cluster_size);
	}
}

static enum qcow2_kind unit_kind(const struct qcow2 *q, const struct qcow2_entry *entry, unsigned unit)
{
	uint64_t host = entry->word & QCOW2_ENTRY_OFFSET;
	bool allocated = entry->bits >> unit & 1, zero = entry->bits >> 32 >> unit & 1;

	if (entry->word & QCOW2_ENTRY_COMPRESSED)
		return QCOW2_PACKED;
	if (!qcow2_aligned(q, host))
		return QCOW2_BAD;
	if (q->units == 1 && entry->word & QCOW2_ENTRY_ZERO)
		return q->version < 3 ? QCOW2_BAD : QCOW2_ZERO;
	if (q->units == 1)
		return host ? QCOW2_DATA : QCOW2_ABSENT;
	if (entry->word & QCOW2_ENTRY_ZERO || (allocated && (zero || !host)))
		return QCOW2_BAD;
	return allocated ? QCOW2_DATA : zero ? QCOW2_ZERO : QCOW2_ABSENT;
}

static bool overlaps(uint64_t offset, uint64_t length, uint64_t table, uint64_t bytes)
{
	return offset < table + bytes && table < offset + length;
}

/* What can be nothing but a wrong entry: the guest's data where the tables are. (The header is at 0, which means not allocated.) */
static bool host_is_table(const struct qcow2 *q, uint64_t host)
{
	return overlaps(host, q->cluster_size, q->l1_offset, (uint64_t)q->l1_size * 8) ||
	       overlaps(host, q->cluster_size, q->table_offset, (uint64_t)q->table_clusters << q->cluster_bits) ||
	       overlaps(host, q->cluster_size, q->snapshots_offset, q->snapshots_bytes);
}

/* The extent of one unit, from `within` it on. */
static void unit_extent(const struct qcow2 *q, const struct qcow2_entry *entry, unsigned unit, uint64_t within,
			struct qcow2_extent *extent)
{
	*extent = (struct qcow2_extent){.kind = unit_kind(q, entry, unit), .length = q->unit_size - within};
	if (extent->kind == QCOW2_DATA) {
		extent->host = (entry->word & QCOW2_ENTRY_OFFSET) + unit * q->unit_size + within;
		extent->copied = entry->word & QCOW2_ENTRY_COPIED;
		if (host_is_table(q, entry->word & QCOW2_ENTRY_OFFSET))
			extent->kind = QCOW2_BAD;
	} else if (extent->kind == QCOW2_PACKED) {
		qcow2_packed_place(q, entry->word, &extent->host, &extent->packed_bytes);
		extent->length = q->cluster_size - unit * q->unit_size - within;
	}
}

static bool extent_joins(const struct qcow2_extent *extent, const struct qcow2_extent *next)
{
	if (extent->kind != next->kind || extent->kind == QCOW2_PACKED || extent->copied != next->copied)
		return false;
	return extent->kind != QCOW2_DATA || extent->host + extent->length == next->host;
}

/* Walks the entries of one slice from `at` on. */
static void slice_walk(const struct qcow2 *q, const struct qcow2_slice *slice, unsigned at, uint64_t offset, uint64_t length,
		       struct qcow2_extent *extent)
{
	uint64_t within = offset & (q->cluster_size - 1);
	unsigned unit = (unsigned)(within / q->unit_size);
	struct qcow2_entry entry = qcow2_entry_read(q, slice->bytes + at);
	struct qcow2_extent next;

	unit_extent(q, &entry, unit, within % q->unit_size, extent);
	while (extent->length < length && extent->kind != QCOW2_PACKED && extent->kind != QCOW2_BAD) {
		if (++unit == q->units) {
			unit = 0;
			at += q->entry_bytes;
			if (at == q->l2.slice_bytes)
				break;
			entry = qcow2_entry_read(q, slice->bytes + at);
		}
		unit_extent(q, &entry, unit, 0, &next);
		if (!extent_joins(extent, &next))
			break;
		extent->length += next.length;
	}
	if (extent->length > length)
		extent->length = length;
}

/* Where the entry of guest offset `offset` is in its table: the slice's place and the byte in the slice. */
static uint64_t entry_place(const struct qcow2 *q, uint64_t offset, unsigned *at)
{
	uint64_t index = (offset >> q->cluster_bits) & ((UINT64_C(1) << q->l2_bits) - 1);
	uint64_t byte = index * q->entry_bytes;

	*at = (unsigned)(byte & (q->l2.slice_bytes - 1));
	return byte - *at;
}

void qcow2_extent_peek(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_extent *extent)
{
	unsigned bits = q->cluster_bits + q->l2_bits, at;
	uint64_t reach = (UINT64_C(1) << bits) - (offset & ((UINT64_C(1) << bits) - 1));
	uint64_t word = offset >> bits < q->l1_size ? q->l1[offset >> bits] : 0, table = word & QCOW2_ENTRY_OFFSET;
	const struct qcow2_slice *slice;

	*extent = (struct qcow2_extent){.kind = QCOW2_ABSENT, .length = length < reach ? length : reach};
	if (!qcow2_aligned(q, table) || word & QCOW2_ENTRY_RESERVED_L1) {
		extent->kind = QCOW2_BAD;
		return;
	}
	if (!table)
		return;
	table += entry_place(q, offset, &at);
	slice = qcow2_cache_find(&q->l2, table);
	if (slice)
		slice_walk(q, slice, at, offset, extent->length, extent);
	else
		extent->kind = QCOW2_UNKNOWN;
}

static void extent_peek_locked(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_extent *extent)
{
	pthread_mutex_lock(&q->lock);
	qcow2_extent_peek(q, offset, length, extent);
	pthread_mutex_unlock(&q->lock);
}

enum status qcow2_extent_find(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_extent *extent)
{
	enum status status = STATUS_OK;

	extent_peek_locked(q, offset, length, extent);
	if (extent->kind == QCOW2_UNKNOWN) {
		struct qcow2_slice *slice;
		unsigned at;

		pthread_mutex_lock(&q->mutate);
		status = qcow2_l2_get(q, offset, false, &slice, &at);
		if (!status)
			extent_peek_locked(q, offset, length, extent);
		pthread_mutex_unlock(&q->mutate);
	}
	if (!status && extent->kind == QCOW2_BAD)
		status = qcow2_corrupt(q, "the tables for the guest's byte %llu make no sense", (unsigned long long)offset);
	return status;
}

/* A copy of a table that a snapshot uses as well: none of its clusters is ours alone. */
static enum status table_copy(struct qcow2 *q, uint64_t from, uint64_t to)
{
	uint8_t *table = malloc(q->cluster_size);
	enum status status = table ? image_file_read(&q->file, from, table, q->cluster_size) : STATUS_NO_MEMORY;

	for (uint64_t at = 0; !status && at < q->cluster_size; at += q->entry_bytes)
		qcow2_put64(table + at, qcow2_get64(table + at) & ~QCOW2_ENTRY_COPIED);
	if (!status)
		status = image_file_write(&q->file, to, table, q->cluster_size);
	free(table);
	return status;
}

/* Gives L1 entry `index` a table of its own. */
static enum status table_make(struct qcow2 *q, uint64_t index)
{
	uint64_t old = q->l1[index] & QCOW2_ENTRY_OFFSET;
	struct qcow2_run run;
	enum status status = qcow2_allocate(q, 1, true, &run);

	if (status)
		return status;
	if (old)
		status = table_copy(q, old, run.offset);
	else
		status = image_file_zero(&q->file, run.offset, q->cluster_size, false);
	if (status) {
		qcow2_free_now(q, run.offset, 1);
		return status;
	}
	pthread_mutex_lock(&q->lock);
	q->l1[index] = run.offset | QCOW2_ENTRY_COPIED;
	qcow2_span_add(&q->l1_dirty, index, index + 1);
	pthread_mutex_unlock(&q->lock);
	atomic_store(&q->dirty, true);
	if (old)
		qcow2_free_later(q, old, q->cluster_size);
	return STATUS_OK;
}

enum status qcow2_l2_get(struct qcow2 *q, uint64_t offset, bool make, struct qcow2_slice **slice, unsigned *at)
{
	uint64_t index = offset >> (q->cluster_bits + q->l2_bits), word, place;
	enum status status = STATUS_OK;

	*slice = NULL;
	if (index >= q->l1_size)
		return make ? STATUS_RANGE : STATUS_OK;
	word = q->l1[index];
	if (!qcow2_aligned(q, word & QCOW2_ENTRY_OFFSET) || word & QCOW2_ENTRY_RESERVED_L1)
		return qcow2_corrupt(q, "L1 entry %llu is %llx", (unsigned long long)index, (unsigned long long)word);
	if (make && (!(word & QCOW2_ENTRY_OFFSET) || !(word & QCOW2_ENTRY_COPIED)))
		status = table_make(q, index);
	word = q->l1[index] & QCOW2_ENTRY_OFFSET;
	if (status || !word)
		return status;
	place = entry_place(q, offset, at);
	return qcow2_cache_get(q, &q->l2, word + place, false, &q->lock, slice);
}
