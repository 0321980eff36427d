/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2.c - opens, creates and closes qcow2 images. The format is QEMU's docs/interop/qcow2.txt; its names are in qcow2_format.h.
 *
 * A qcow2 file is an array of clusters (64 KiB, say). The first has the header. The guest's disk is mapped by two levels of tables: L1 (in memory as
 * a whole) has a word for each L2 table, an L2 table a word for each guest cluster: where its data is in the file, or that it is zero, or
 * compressed, or not there, so that the backing file shows through. A third structure counts how many tables refer to each cluster: snapshots are
 * further L1 tables that share L2 tables and data. What has a count of one is marked COPIED in the word that refers to it, and may be written in place;
 * all else is copied when it is written.
 *
 * Example: the guest writes 4 KiB at 1 MiB + 8 KiB of a new overlay. Its cluster is number 16: L1 entry 0, L2 entry 16. L1 entry 0 is 0: a cluster is
 * allocated for an L2 table and zeroed (qcow2_map.c). L2 entry 16 is 0: another is allocated (qcow2_allocate.c), the guest's 4 KiB go there, and around
 * them 8 KiB and 52 KiB of the backing file (qcow2_io.c). Then the entry turns to it, in the cache. All of these words reach the disk when the guest
 * flushes, in the order that qcow2_commit.c explains: counts before L2, L2 before L1, each stable before the next.
 *
 * Reading order: qcow2_image.h, qcow2_map.c, qcow2_io.c, qcow2_allocate.c, qcow2_commit.c; then qcow2_block.c, which is what a device sees.
 */
#include "qcow2.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <holon/host.h>

#include "qcow2_check.h"
#include "qcow2_image.h"
#include "qcow2_snapshot.h"

const struct qcow2_format qcow2_format_default = {.version = 3, .cluster_bits = 16, .refcount_order = 4};

bool qcow2_recognize(const struct image_file *file)
{
	uint8_t magic[4];

	return !image_file_read(file, 0, magic, sizeof(magic)) && qcow2_get32(magic) == QCOW2_MAGIC;
}

enum status qcow2_corrupt(struct qcow2 *q, const char *format, ...)
{
	uint8_t bits[8];
	char text[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	host_log(HOST_LOG_WARN, "disk %s: the image is damaged: %s", q->file.path, text);
	if (atomic_exchange(&q->corrupt, true) || q->readonly)
		return STATUS_IO;
	host_log(HOST_LOG_ERROR, "disk %s: nothing more is written to it; stop the VM and run: holon disk check --repair %s",
		 q->file.path, q->file.path);
	if (q->version < 3)
		return STATUS_IO;
	qcow2_put64(bits, q->incompatible | QCOW2_INCOMPATIBLE_CORRUPT);
	if (image_file_write(&q->file, QCOW2_HEADER_INCOMPATIBLE, bits, sizeof(bits)))
		host_log(HOST_LOG_WARN, "disk %s: and it cannot be marked so", q->file.path);
	return STATUS_IO;
}

static void qcow2_free(struct qcow2 *q)
{
	qcow2_cache_stop(&q->l2);
	qcow2_cache_stop(&q->refcounts);
	qcow2_inflated_forget(q);
	pthread_cond_destroy(&q->ranges_changed);
	pthread_mutex_destroy(&q->commit_lock);
	pthread_mutex_destroy(&q->mutate);
	pthread_mutex_destroy(&q->lock);
	pthread_mutex_destroy(&q->inflated_lock);
	image_file_close(&q->file);
	free(q->backing_path);
	free(q->backing_format);
	free(q->frees.run);
	free(q->l1);
	free(q->table);
	free(q);
}

static enum status caches_start(struct qcow2 *q, struct reason *why)
{
	unsigned slice = q->cluster_size < QCOW2_SLICE ? (unsigned)q->cluster_size : QCOW2_SLICE;
	enum status status = qcow2_cache_start(&q->l2, slice, qcow2_l2_cache_bytes(q));

	if (!status)
		status = qcow2_cache_start(&q->refcounts, slice, QCOW2_REFCOUNT_CACHE);
	return status ? reason_give(why, status, "disk %s: out of memory", q->file.path) : STATUS_OK;
}

/* An image that is going to be written: what its last writer left undone, and what this one cannot keep up. */
static enum status writer_prepare(struct qcow2 *q, const struct image_options *options, struct reason *why)
{
	struct qcow2_check check = {.repair = true, .quiet = true};
	uint64_t length;
	enum status status = image_file_length(&q->file, &length);

	if (status)
		return reason_give(why, status, "disk %s: its length cannot be found", q->file.path);
	q->fresh_from = q->file.regular ? qcow2_clusters(q, length) : UINT64_MAX;
	if (options->damaged)
		return STATUS_OK;
	if (q->incompatible & QCOW2_INCOMPATIBLE_DIRTY && !(q->incompatible & QCOW2_INCOMPATIBLE_CORRUPT)) {
		host_log(HOST_LOG_INFO, "disk %s: it was not closed: counting its clusters anew", q->file.path);
		status = qcow2_check(q, &check, why);
		if (status)
			return status;
	}
	if (q->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) /* or the check has marked it */
		return reason_give(why, STATUS_INVALID, "disk %s: it is marked as damaged; run: holon disk check --repair %s",
				   q->file.path, q->file.path);
	if (!q->autoclear)
		return STATUS_OK;
	q->autoclear = 0;
	status = qcow2_header_update(q);
	return status ? reason_give(why, status, "disk %s: its header cannot be written: %s", q->file.path, status_name(status))
		      : status;
}

enum status qcow2_open(struct qcow2 **out, struct image_file *file, const struct image_options *options, struct reason *why)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	enum status status;

	*out = NULL;
	if (!q) {
		status = reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", file->path);
		image_file_close(file);
		return status;
	}
	q->file = *file;
	*file = (struct image_file){.fd = -1};
	q->readonly = options->readonly;
	pthread_mutex_init(&q->commit_lock, NULL);
	pthread_mutex_init(&q->mutate, NULL);
	pthread_mutex_init(&q->lock, NULL);
	pthread_mutex_init(&q->inflated_lock, NULL);
	pthread_cond_init(&q->ranges_changed, NULL);
	status = qcow2_header_read(q, options->damaged, why);
	if (!status)
		status = caches_start(q, why);
	if (!status)
		status = qcow2_snapshots_measure(q, why);
	if (!status && !q->readonly)
		status = writer_prepare(q, options, why);
	if (status) {
		qcow2_free(q);
		return status;
	}
	*out = q;
	return STATUS_OK;
}

enum status qcow2_close(struct qcow2 *q)
{
	enum status status = STATUS_OK;

	/* A second time for the clusters that the first set free. */
	for (unsigned i = 0; !status && i < 2; i++)
		status = qcow2_commit(q, false);
	qcow2_free(q);
	return status;
}

/* An image of no size: header, refcount table, one block, in the first three clusters. */
static void empty_fill(uint8_t *header, uint8_t *table, uint8_t *block, const struct qcow2_format *format)
{
	uint64_t cluster = UINT64_C(1) << format->cluster_bits;
	uint64_t incompatible = (format->compression ? QCOW2_INCOMPATIBLE_COMPRESSION : 0) |
				(format->extended_l2 ? QCOW2_INCOMPATIBLE_EXTENDED_L2 : 0);

	qcow2_put32(header, QCOW2_MAGIC);
	qcow2_put32(header + QCOW2_HEADER_VERSION, format->version);
	qcow2_put32(header + QCOW2_HEADER_CLUSTER_BITS, format->cluster_bits);
	qcow2_put64(header + QCOW2_HEADER_REFCOUNT_TABLE_OFFSET, cluster);
	qcow2_put32(header + QCOW2_HEADER_REFCOUNT_TABLE_CLUSTERS, 1);
	if (format->version >= 3) {
		qcow2_put64(header + QCOW2_HEADER_INCOMPATIBLE, incompatible);
		qcow2_put64(header + QCOW2_HEADER_COMPATIBLE, format->lazy_refcounts ? QCOW2_COMPATIBLE_LAZY_REFCOUNTS : 0);
		qcow2_put32(header + QCOW2_HEADER_REFCOUNT_ORDER, format->refcount_order);
		qcow2_put32(header + QCOW2_HEADER_LENGTH, QCOW2_HEADER_OUR_LENGTH);
		header[QCOW2_HEADER_COMPRESSION_TYPE] = (uint8_t)format->compression;
	}
	qcow2_put64(table, 2 * cluster);
	for (unsigned i = 0; i < 3; i++)
		qcow2_refcount_set(block, format->refcount_order, i, 1);
}

static enum status empty_write(const struct image_file *file, const struct qcow2_format *format)
{
	size_t cluster = (size_t)1 << format->cluster_bits;
	uint8_t *bytes = calloc(3, cluster);
	enum status status = STATUS_NO_MEMORY;

	if (bytes) {
		empty_fill(bytes, bytes + cluster, bytes + 2 * cluster, format);
		status = image_file_write(file, 0, bytes, 3 * cluster);
	}
	free(bytes);
	return status;
}

enum status qcow2_create(const struct image_file *file, const struct qcow2_format *format, uint64_t size, struct reason *why)
{
	struct image_options options = {.readonly = false};
	struct image_file again = *file;
	struct qcow2 *q;
	enum status status = empty_write(file, format);

	if (status)
		return reason_give(why, status, "disk %s: it cannot be written: %s", file->path, status_name(status));
	again.path = strdup(file->path);
	again.fd = dup(file->fd); /* of the same open file: its locks are shared */
	if (!again.path || again.fd < 0) {
		image_file_close(&again);
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", file->path);
	}
	status = qcow2_open(&q, &again, &options, why);
	if (status)
		return status;
	status = qcow2_resize(q, size, why);
	if (!status && format->backing)
		status = qcow2_backing_set(q, format->backing, format->backing_format, why);
	if (!status)
		status = qcow2_flush(q);
	if (qcow2_close(q) && !status)
		status = STATUS_IO;
	if (status && !why->text[0])
		reason_give(why, status, "disk %s: it cannot be written: %s", file->path, status_name(status));
	return status;
}

enum status qcow2_backing_set(struct qcow2 *q, const char *path, const char *format, struct reason *why)
{
	char *old_path = q->backing_path, *old_format = q->backing_format;
	enum status status = STATUS_NO_MEMORY;

	q->backing_path = path ? strdup(path) : NULL;
	q->backing_format = path && format ? strdup(format) : NULL;
	if ((!path || q->backing_path) && (!path || !format || q->backing_format))
		status = path && strlen(path) > QCOW2_BACKING_NAME_MAX ? STATUS_NO_SPACE : qcow2_header_write(q);
	if (status) {
		free(q->backing_path);
		free(q->backing_format);
		q->backing_path = old_path;
		q->backing_format = old_format;
		return reason_give(why, status, "disk %s: the name of the backing file cannot be written: %s%s", q->file.path,
				   status_name(status), status == STATUS_NO_SPACE ? "; a shorter one may fit" : "");
	}
	free(old_path);
	free(old_format);
	return STATUS_OK;
}
