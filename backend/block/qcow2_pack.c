/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_pack.c - writes compressed clusters, one behind the other, for `holon disk convert -c`. One thread.
 */
#include <stdlib.h>

#include "qcow2.h"
#include "qcow2_image.h"

/* A place for `bytes`: behind the last one if the cluster has room, else in a new cluster. Under mutate. */
static enum status packed_place(struct qcow2 *q, uint64_t bytes, uint64_t *host)
{
	uint64_t within = q->packed_at & (q->cluster_size - 1);
	struct qcow2_run run;
	enum status status;

	if (within && bytes <= q->cluster_size - within) {
		status = qcow2_refcount_add(q, q->packed_at >> q->cluster_bits, 1, 1);
		if (status != STATUS_NO_SPACE) { /* as many share it as can be counted */
			*host = q->packed_at;
			q->packed_at += bytes;
			return status;
		}
	}
	status = qcow2_allocate(q, 1, true, &run);
	*host = run.offset;
	q->packed_at = run.offset + bytes;
	return status;
}

static enum status packed_store(struct qcow2 *q, uint64_t offset, const uint8_t *packed, size_t bytes)
{
	struct qcow2_slice *slice;
	struct qcow2_entry entry = {0, 0};
	uint64_t host;
	unsigned at;
	enum status status = qcow2_commit_if_much(q);

	if (status)
		return status;
	pthread_mutex_lock(&q->mutate);
	status = packed_place(q, bytes, &host);
	if (!status)
		status = image_file_write(&q->file, host, packed, bytes);
	if (!status)
		status = qcow2_l2_get(q, offset, true, &slice, &at);
	if (!status) {
		entry.word = qcow2_packed_word(q, host, bytes);
		qcow2_entry_write(q, slice, at, entry);
	}
	pthread_mutex_unlock(&q->mutate);
	return status;
}

enum status qcow2_write_packed(struct qcow2 *q, uint64_t offset, const uint8_t *cluster)
{
	struct iovec piece = {(void *)cluster, q->cluster_size};
	struct image_cursor cursor = image_cursor_of(&piece);
	size_t bytes = q->cluster_size - 1;
	uint8_t *packed = malloc(bytes);
	enum status status = STATUS_NO_MEMORY;

	if (packed)
		status = qcow2_deflate(q, cluster, packed, &bytes);
	if (!status)
		status = packed_store(q, offset, packed, bytes);
	else if (status == STATUS_RANGE)
		status = qcow2_write(q, offset, q->size - offset < q->cluster_size ? q->size - offset : q->cluster_size, &cursor);
	free(packed);
	return status;
}
