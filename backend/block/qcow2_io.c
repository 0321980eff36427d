/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_io.c - the guest's bytes: read through the chain, written in place or into new clusters, zeroed, discarded.
 *
 * A write into clusters that are not ours alone goes in three steps: choose clusters (under mutate), write data and what must be kept around it (under nothing), turn
 * the table to them (under mutate). Until the last step nobody sees the new clusters, and a failure gives them back. The caller sees to it that
 * nobody else is in the clusters meanwhile.
 */
#include <stdlib.h>

#include "qcow2.h"
#include "qcow2_image.h"

#define BUFFER (64u << 10)
#define ZERO_PIECES (unsigned)((UINT64_C(1) << QCOW2_CLUSTER_BITS_MAX) / BUFFER)

static const uint8_t zeroes[BUFFER];

static enum status backing_read(struct qcow2 *q, uint64_t offset, uint64_t length, struct image_cursor *to)
{
	if (q->backing)
		return image_read(q->backing, offset, length, to);
	image_cursor_zero(to, length);
	return STATUS_OK;
}

enum status qcow2_read(struct qcow2 *q, uint64_t offset, uint64_t length, struct image_cursor *to)
{
	enum status status = STATUS_OK;

	while (!status && length) {
		struct qcow2_extent extent;

		status = qcow2_extent_find(q, offset, length, &extent);
		if (status)
			return status;
		switch (extent.kind) {
		case QCOW2_DATA: status = image_file_read_pieces(&q->file, extent.host, to, extent.length); break;
		case QCOW2_PACKED: status = qcow2_inflate(q, &extent, offset & (q->cluster_size - 1), extent.length, to); break;
		case QCOW2_ABSENT: status = backing_read(q, offset, extent.length, to); break;
		default: image_cursor_zero(to, extent.length); break;
		}
		offset += extent.length;
		length -= extent.length;
	}
	return status;
}

/* Nothing is stored there: it reads as zeroes. */
static bool extent_is_nothing(const struct qcow2 *q, uint64_t offset, const struct qcow2_extent *extent)
{
	if (extent->kind == QCOW2_ABSENT)
		return !q->backing || offset >= q->backing->size;
	return extent->kind == QCOW2_ZERO;
}

/* A write on its way into new clusters, or into clusters of ours that did not hold data yet. */
struct placing {
	uint64_t first;              /* the guest's first cluster's offset */
	uint64_t clusters;           /* that lie together */
	uint64_t host;               /* where they are in the file */
	bool taken;                  /* newly allocated */
	bool fresh;                  /* they read as zeroes so far */
	uint64_t from, to;           /* the guest's bytes that are written */
	uint64_t keep_from, keep_to; /* around them: what must be there as well */
};

static bool entry_is_ours(const struct qcow2_entry *entry)
{
	return entry->word & QCOW2_ENTRY_COPIED && !(entry->word & QCOW2_ENTRY_COMPRESSED) && entry->word & QCOW2_ENTRY_OFFSET;
}

static bool entry_has_data(const struct qcow2 *q, const struct qcow2_entry *entry)
{
	if (entry->word & QCOW2_ENTRY_COMPRESSED)
		return true;
	if (q->units == 1)
		return entry->word & QCOW2_ENTRY_OFFSET && !(entry->word & QCOW2_ENTRY_ZERO);
	return entry->bits & UINT32_MAX;
}

/* How far before `at` (a byte written in the cluster of `entry`) bytes must be kept; for the end the same with `end`. */
static uint64_t keep_bound(const struct qcow2 *q, const struct placing *placing, const struct qcow2_entry *entry, uint64_t at,
			   bool end)
{
	uint64_t size = q->unit_size, last = end ? at - 1 : at;
	unsigned unit = (unsigned)((last & (q->cluster_size - 1)) / q->unit_size);

	if (placing->taken && entry_has_data(q, entry))
		size = q->cluster_size;
	else if (!placing->taken && q->units > 1 && entry->bits >> unit & 1)
		return at;
	return (last & ~(size - 1)) + (end ? size : 0);
}

/* Under mutate: which clusters the bytes at `offset` go to. */
static enum status placing_choose(struct qcow2 *q, uint64_t offset, uint64_t length, struct placing *placing)
{
	struct qcow2_entry first, last;
	struct qcow2_slice *slice;
	struct qcow2_run run;
	enum status status;
	uint64_t wanted, end;
	unsigned at;

	*placing = (struct placing){.first = offset & ~(q->cluster_size - 1), .clusters = 1, .from = offset};
	status = qcow2_l2_get(q, offset, true, &slice, &at);
	if (status)
		return status;
	first = last = qcow2_entry_read(q, slice->bytes + at);
	if (entry_is_ours(&first)) {
		placing->host = first.word & QCOW2_ENTRY_OFFSET;
	} else {
		wanted = qcow2_clusters(q, offset + length - placing->first);
		for (uint64_t i = 1; i < wanted; i++) {
			struct qcow2_entry entry;

			if (at + i * q->entry_bytes >= q->l2.slice_bytes) {
				wanted = i;
				break;
			}
			entry = qcow2_entry_read(q, slice->bytes + at + i * q->entry_bytes);
			if (entry_is_ours(&entry))
				wanted = i;
		}
		status = qcow2_allocate(q, wanted, false, &run);
		if (status)
			return status;
		placing->host = run.offset;
		placing->clusters = run.count;
		placing->taken = true;
		placing->fresh = run.fresh;
		last = qcow2_entry_read(q, slice->bytes + at + (run.count - 1) * q->entry_bytes);
	}
	end = placing->first + (placing->clusters << q->cluster_bits);
	placing->to = offset + length < end ? offset + length : end;
	placing->keep_from = keep_bound(q, placing, &first, placing->from, false);
	placing->keep_to = keep_bound(q, placing, &last, placing->to, true);
	return STATUS_OK;
}

/* Copies what the guest sees in [from, to) to its new place. */
static enum status placing_keep(struct qcow2 *q, const struct placing *placing, uint64_t from, uint64_t to)
{
	uint8_t *buffer = NULL;
	enum status status = STATUS_OK;

	while (!status && from < to) {
		uint64_t host = placing->host + from - placing->first;
		struct qcow2_extent extent;

		status = qcow2_extent_find(q, from, to - from < BUFFER ? to - from : BUFFER, &extent);
		if (status)
			break;
		if (extent_is_nothing(q, from, &extent)) {
			if (!placing->fresh)
				status = image_file_zero(&q->file, host, extent.length, false);
		} else {
			struct iovec piece = {NULL, extent.length};
			struct image_cursor cursor = image_cursor_of(&piece);

			if (!buffer)
				buffer = malloc(BUFFER);
			piece.iov_base = buffer;
			status = buffer ? qcow2_read(q, from, extent.length, &cursor) : STATUS_NO_MEMORY;
			if (!status)
				status = image_file_write(&q->file, host, buffer, extent.length);
		}
		from += extent.length;
	}
	free(buffer);
	return status;
}

/* Bits of the units that [from, to) touches in the cluster at `cluster`. */
static uint64_t unit_mask(const struct qcow2 *q, uint64_t cluster, uint64_t from, uint64_t to)
{
	unsigned begin = from > cluster ? (unsigned)((from - cluster) / q->unit_size) : 0;
	uint64_t end = to - cluster < q->cluster_size ? (to - cluster + q->unit_size - 1) / q->unit_size : q->units;

	return ((UINT64_C(1) << end) - 1) & ~((UINT64_C(1) << begin) - 1);
}

/* Under mutate: turns the table to the new clusters. */
static enum status placing_settle(struct qcow2 *q, const struct placing *placing)
{
	struct qcow2_slice *slice;
	unsigned at;
	enum status status = qcow2_l2_get(q, placing->first, true, &slice, &at);

	for (uint64_t i = 0; !status && i < placing->clusters; i++, at += q->entry_bytes) {
		uint64_t cluster = placing->first + (i << q->cluster_bits), mask;
		struct qcow2_entry old = qcow2_entry_read(q, slice->bytes + at), entry;

		mask = q->units > 1 ? unit_mask(q, cluster, placing->keep_from, placing->keep_to) : 0;
		entry.word = (placing->host + (i << q->cluster_bits)) | QCOW2_ENTRY_COPIED;
		entry.bits = (old.word & QCOW2_ENTRY_COMPRESSED ? 0 : old.bits & ~(mask << 32)) | mask;
		qcow2_entry_write(q, slice, at, entry);
		if (placing->taken)
			qcow2_entry_free(q, old);
	}
	return status;
}

/* Writes the first bytes of a range into clusters that are chosen now. *done says how many. */
static enum status write_placed(struct qcow2 *q, uint64_t offset, uint64_t length, struct image_cursor *from, uint64_t *done)
{
	struct placing placing;
	enum status status = qcow2_commit_if_much(q);

	if (status)
		return status;
	pthread_mutex_lock(&q->mutate);
	status = placing_choose(q, offset, length, &placing);
	pthread_mutex_unlock(&q->mutate);
	if (status)
		return status;
	status = placing_keep(q, &placing, placing.keep_from, placing.from);
	if (!status)
		status = image_file_write_pieces(&q->file, placing.host + placing.from - placing.first, from,
						 placing.to - placing.from);
	if (!status)
		status = placing_keep(q, &placing, placing.to, placing.keep_to);
	pthread_mutex_lock(&q->mutate);
	if (!status)
		status = placing_settle(q, &placing);
	if (status && placing.taken)
		qcow2_free_now(q, placing.host, placing.clusters);
	pthread_mutex_unlock(&q->mutate);
	*done = placing.to - placing.from;
	return status;
}

static enum status writable(struct qcow2 *q)
{
	if (q->readonly)
		return STATUS_PERMISSION;
	return atomic_load(&q->corrupt) ? STATUS_IO : STATUS_OK;
}

enum status qcow2_write(struct qcow2 *q, uint64_t offset, uint64_t length, struct image_cursor *from)
{
	enum status status = writable(q);

	while (!status && length) {
		struct qcow2_extent extent;
		uint64_t done;

		status = qcow2_extent_find(q, offset, length, &extent);
		if (status)
			return status;
		done = extent.length;
		if (extent.kind == QCOW2_DATA && extent.copied)
			status = image_file_write_pieces(&q->file, extent.host, from, done);
		else
			status = write_placed(q, offset, length, from, &done);
		offset += done;
		length -= done;
	}
	return status;
}

enum clearing { CLEAR_KEEP, CLEAR_UNMAP, CLEAR_DISCARD };

/* What an entry becomes when its whole cluster is cleared. */
static struct qcow2_entry entry_cleared(const struct qcow2 *q, const struct qcow2_entry *old, enum clearing clearing)
{
	bool absent = !(old->word & ~QCOW2_ENTRY_COPIED) && !old->bits;
	struct qcow2_entry zero = {.word = q->units > 1 ? 0 : QCOW2_ENTRY_ZERO,
				   .bits = q->units > 1 ? (uint64_t)UINT32_MAX << 32 : 0};

	if (absent && (clearing == CLEAR_DISCARD || !q->backing))
		return *old;
	if (clearing == CLEAR_KEEP && entry_is_ours(old) && q->version >= 3) {
		zero.word |= old->word;
		return zero;
	}
	if (!q->backing)
		return (struct qcow2_entry){0, 0};
	return q->version >= 3 ? zero : *old;
}

/* Whole clusters from `offset` on, at most `count`, as far as one slice goes. */
static enum status clusters_clear(struct qcow2 *q, uint64_t offset, uint64_t count, enum clearing clearing, uint64_t *done)
{
	bool make = q->backing && clearing != CLEAR_DISCARD;
	struct qcow2_slice *slice;
	unsigned at;
	enum status status;

	status = qcow2_l2_get(q, offset, false, &slice, &at);
	*done = 1;
	if (status || (!slice && !make))
		return status;
	status = qcow2_l2_get(q, offset, true, &slice, &at);
	for (*done = 0; !status && *done < count && at < q->l2.slice_bytes; ++*done, at += q->entry_bytes) {
		struct qcow2_entry old = qcow2_entry_read(q, slice->bytes + at), entry = entry_cleared(q, &old, clearing);

		if (entry.word == old.word && entry.bits == old.bits)
			continue;
		qcow2_entry_write(q, slice, at, entry);
		if (!(entry.word & QCOW2_ENTRY_OFFSET))
			qcow2_entry_free(q, old);
	}
	return status;
}

/* The part of a cluster that is whole units, of an extended entry. *done is 0 where that is not possible. */
static enum status units_clear(struct qcow2 *q, uint64_t offset, uint64_t length, uint64_t *done)
{
	uint64_t cluster = offset & ~(q->cluster_size - 1), end = offset + length, mask;
	struct qcow2_slice *slice;
	struct qcow2_entry entry;
	unsigned at;
	enum status status;

	*done = 0;
	if (end > cluster + q->cluster_size)
		end = cluster + q->cluster_size;
	end &= ~(q->unit_size - 1);
	if (q->units == 1 || offset & (q->unit_size - 1) || end <= offset)
		return STATUS_OK;
	status = qcow2_l2_get(q, offset, true, &slice, &at);
	if (status)
		return status;
	entry = qcow2_entry_read(q, slice->bytes + at);
	if (entry.word & QCOW2_ENTRY_COMPRESSED)
		return STATUS_OK;
	mask = unit_mask(q, cluster, offset, end);
	entry.bits = (entry.bits & ~mask) | mask << 32;
	qcow2_entry_write(q, slice, at, entry);
	*done = end - offset;
	return STATUS_OK;
}

/* Zeroes as bytes, up to the end of a cluster or unit; nothing where there is nothing. */
static enum status zeroes_write(struct qcow2 *q, uint64_t offset, uint64_t length, uint64_t *done)
{
	uint64_t left = q->unit_size - (offset & (q->unit_size - 1));
	struct iovec piece[ZERO_PIECES + 1];
	struct image_cursor cursor = image_cursor_of(piece);
	struct qcow2_extent extent;
	enum status status;

	*done = length < left ? length : left;
	status = qcow2_extent_find(q, offset, *done, &extent);
	if (status)
		return status;
	*done = extent.length;
	if (extent_is_nothing(q, offset, &extent))
		return STATUS_OK;
	for (uint64_t i = 0, at = 0; at < *done; i++, at += BUFFER)
		piece[i] = (struct iovec){(void *)zeroes, *done - at < BUFFER ? *done - at : BUFFER};
	return qcow2_write(q, offset, *done, &cursor);
}

/* How many whole clusters begin at `offset`; the last of the disk may be cut short. */
static uint64_t clusters_whole(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	if (!qcow2_aligned(q, offset))
		return 0;
	return offset + length == q->size ? qcow2_clusters(q, length) : length >> q->cluster_bits;
}

static enum status zero_step(struct qcow2 *q, uint64_t offset, uint64_t length, bool may_unmap, uint64_t *done)
{
	uint64_t whole = clusters_whole(q, offset, length);
	enum status status = qcow2_commit_if_much(q);

	if (status)
		return status;
	*done = 0;
	pthread_mutex_lock(&q->mutate);
	if (whole && (q->version >= 3 || !q->backing)) {
		status = clusters_clear(q, offset, whole, may_unmap ? CLEAR_UNMAP : CLEAR_KEEP, done);
		*done <<= q->cluster_bits;
	} else {
		status = units_clear(q, offset, length, done);
	}
	pthread_mutex_unlock(&q->mutate);
	return status || *done ? status : zeroes_write(q, offset, length, done);
}

enum status qcow2_write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t length, bool may_unmap)
{
	enum status status = writable(q);

	while (!status && length) {
		uint64_t done = 0;

		status = zero_step(q, offset, length, may_unmap, &done);
		if (done > length)
			done = length;
		offset += done;
		length -= done;
	}
	return status;
}

enum status qcow2_discard(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length, count, done = 0;
	enum status status = writable(q);

	offset = (offset + q->cluster_size - 1) & ~(q->cluster_size - 1);
	count = offset < end ? clusters_whole(q, offset, end - offset) : 0;
	for (; !status && count; count -= done) {
		status = qcow2_commit_if_much(q);
		if (status)
			break;
		pthread_mutex_lock(&q->mutate);
		status = clusters_clear(q, offset, count, CLEAR_DISCARD, &done);
		pthread_mutex_unlock(&q->mutate);
		offset += done << q->cluster_bits;
	}
	return status;
}

enum status qcow2_is_own(struct qcow2 *q, uint64_t offset, uint64_t length, bool *own, bool *zero, uint64_t *run)
{
	struct qcow2_extent extent;
	enum status status = qcow2_extent_find(q, offset, length, &extent);

	*own = extent.kind != QCOW2_ABSENT;
	*zero = extent.kind == QCOW2_ZERO;
	*run = extent.length;
	return status;
}

enum status qcow2_flush(struct qcow2 *q)
{
	return qcow2_commit(q, true);
}
