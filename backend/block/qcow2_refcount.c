/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_refcount.c - how many tables refer to each cluster of the file: a table of blocks of counts, 1 to 64 bits wide. Called under `mutate`.
 */
#include "qcow2_image.h"

uint64_t qcow2_refcount_of(const void *block, unsigned order, uint64_t index)
{
	const uint8_t *bytes = block;

	switch (order) {
	case 3: return bytes[index];
	case 4: return qcow2_get16(bytes + index * 2);
	case 5: return qcow2_get32(bytes + index * 4);
	case 6: return qcow2_get64(bytes + index * 8);
	default: {
		unsigned bits = 1u << order, shift = (unsigned)(index << order) & 7;

		return bytes[index << order >> 3] >> shift & ((1u << bits) - 1);
	}
	}
}

void qcow2_refcount_set(void *block, unsigned order, uint64_t index, uint64_t value)
{
	uint8_t *bytes = block;

	switch (order) {
	case 3: bytes[index] = (uint8_t)value; break;
	case 4: qcow2_put16(bytes + index * 2, (uint16_t)value); break;
	case 5: qcow2_put32(bytes + index * 4, (uint32_t)value); break;
	case 6: qcow2_put64(bytes + index * 8, value); break;
	default: {
		unsigned bits = 1u << order, shift = (unsigned)(index << order) & 7;
		uint8_t *byte = &bytes[index << order >> 3];

		*byte = (uint8_t)((*byte & ~(((1u << bits) - 1) << shift)) | value << shift);
	}
	}
}

/* The slice with a cluster's count and its index there. *slice is NULL where there is no block: the count is 0. */
static enum status count_slice(struct qcow2 *q, uint64_t cluster, struct qcow2_slice **slice, uint64_t *index)
{
	uint64_t block = cluster >> q->block_bits, offset, byte;
	unsigned per_slice_bits = (unsigned)__builtin_ctz(q->refcounts.slice_bytes * 8) - q->refcount_order;

	*slice = NULL;
	if (block >= q->table_size || !q->table[block])
		return STATUS_OK;
	offset = q->table[block];
	if (!qcow2_aligned(q, offset) || offset >= QCOW2_OFFSET_MAX)
		return qcow2_corrupt(q, "refcount block %llu is said to be at %llx", (unsigned long long)block,
				     (unsigned long long)offset);
	byte = (cluster & ((UINT64_C(1) << q->block_bits) - 1)) >> per_slice_bits << __builtin_ctz(q->refcounts.slice_bytes);
	*index = cluster & ((UINT64_C(1) << per_slice_bits) - 1);
	return qcow2_cache_get(q, &q->refcounts, offset + byte, false, NULL, slice);
}

enum status qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
	struct qcow2_slice *slice;
	uint64_t index;
	enum status status = count_slice(q, cluster, &slice, &index);

	*count = !status && slice ? qcow2_refcount_of(slice->bytes, q->refcount_order, index) : 0;
	return status;
}

static enum status change_check(struct qcow2 *q, uint64_t cluster, int change)
{
	uint64_t count;
	enum status status = qcow2_refcount_get(q, cluster, &count);

	if (status)
		return status;
	if (change > 0 && count == q->refcount_max)
		return STATUS_NO_SPACE;
	if (change > 0 && (cluster >> q->block_bits >= q->table_size || !q->table[cluster >> q->block_bits]))
		return qcow2_corrupt(q, "the cluster at %llx is in use and has no refcount",
				     (unsigned long long)cluster << q->cluster_bits);
	if (change < 0 && !count)
		return qcow2_corrupt(q, "the cluster at %llx is in use with a refcount of 0",
				     (unsigned long long)cluster << q->cluster_bits);
	return STATUS_OK;
}

static enum status change_make(struct qcow2 *q, uint64_t cluster, int change)
{
	struct qcow2_slice *slice;
	uint64_t index, count;
	enum status status = count_slice(q, cluster, &slice, &index);

	if (status)
		return status;
	count = qcow2_refcount_of(slice->bytes, q->refcount_order, index) + (uint64_t)(int64_t)change;
	qcow2_refcount_set(slice->bytes, q->refcount_order, index, count);
	qcow2_slice_dirty(q, &q->refcounts, slice);
	if (!count && cluster < q->free_from)
		q->free_from = cluster;
	return STATUS_OK;
}

enum status qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, uint64_t count, int change)
{
	enum status status = STATUS_OK;
	uint64_t i, done;

	for (i = 0; !status && i < count; i++)
		status = change_check(q, cluster + i, change);
	for (done = 0; !status && done < count; done++)
		status = change_make(q, cluster + done, change);
	return status;
}
