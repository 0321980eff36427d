/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_block.c - the qcow2 disk that a device sees: requests go the quick way or the slow way.
 *
 * Quick: all tables that a request needs are in the cache, and it reads, or writes clusters that are the image's alone. Then it becomes requests
 * to the raw blocks (raw.h) of the files where its bytes are, on the submitter's thread, and the whole batch goes to the host at once. A flush with nothing to write back
 * is quick as well. Everything else waits in a queue for one of a few workers, which call qcow2_io.c.
 */
#include "qcow2_block.h"

#include <stdlib.h>
#include <string.h>

#include <holon/host.h>

#include "block_thread.h"
#include "image.h"
#include "qcow2.h"
#include "qcow2_image.h"
#include "raw.h"

#define WORKERS 4
#define PARTS 8      /* of a request on its quick way */
#define JOBS_KEPT 64 /* unused ones */

struct qcow2_disk;

struct part {
	struct block_request child;
	unsigned level; /* whose file; the image itself is 0 */
};

/* A request on its quick way. */
struct job {
	struct qcow2_disk *disk;
	struct block_request *request;
	struct qcow2_range range;
	struct block_segment *segment; /* for the parts, if there are several */
	atomic_uint left;              /* parts */
	atomic_int status;
	struct job *next;
	unsigned parts;
	struct part part[PARTS];
};

struct qcow2_disk {
	struct block block;
	struct image *image;
	struct qcow2 *q;
	struct block *file[IMAGE_CHAIN_MAX + 1]; /* raw blocks of the chain's files */
	unsigned files;
	pthread_t worker[WORKERS];
	unsigned workers;
	pthread_mutex_t lock; /* what follows; a leaf */
	pthread_cond_t more, idle;
	struct block_request *waiting, **waiting_end;
	unsigned under_way;
	bool stopping;
	struct job *job;
	unsigned jobs;
};

static struct qcow2_disk *disk_of(struct block *block)
{
	return (struct qcow2_disk *)(void *)((uint8_t *)block - offsetof(struct qcow2_disk, block));
}

static void request_done(struct qcow2_disk *disk, struct block_request *request, enum status status)
{
	request->done(request, status);
	pthread_mutex_lock(&disk->lock);
	if (--disk->under_way == 0)
		pthread_cond_broadcast(&disk->idle);
	pthread_mutex_unlock(&disk->lock);
}

/* Jobs */

static struct job *job_take(struct qcow2_disk *disk, struct block_request *request)
{
	struct job *job;

	pthread_mutex_lock(&disk->lock);
	job = disk->job;
	if (job) {
		disk->job = job->next;
		disk->jobs--;
	}
	pthread_mutex_unlock(&disk->lock);
	if (!job)
		job = malloc(sizeof(*job));
	if (!job)
		return NULL;
	job->disk = disk;
	job->request = request;
	job->segment = NULL;
	job->parts = 0;
	atomic_store(&job->status, STATUS_OK);
	return job;
}

static void job_drop(struct job *job)
{
	struct qcow2_disk *disk = job->disk;
	bool keep;

	free(job->segment);
	pthread_mutex_lock(&disk->lock);
	keep = disk->jobs < JOBS_KEPT;
	if (keep) {
		job->next = disk->job;
		disk->job = job;
		disk->jobs++;
	}
	pthread_mutex_unlock(&disk->lock);
	if (!keep)
		free(job);
}

static void part_done(struct block_request *child, enum status status)
{
	struct job *job = child->device;
	struct block_request *request = job->request;
	struct qcow2_disk *disk = job->disk;

	if (status)
		atomic_store(&job->status, (int)status);
	if (atomic_fetch_sub(&job->left, 1) != 1)
		return;
	status = (enum status)atomic_load(&job->status);
	if (request->operation != BLOCK_FLUSH)
		qcow2_range_leave(disk->q, &job->range);
	job_drop(job);
	request_done(disk, request, status);
}

/* The quick way */

static bool part_add(struct job *job, unsigned level, uint64_t host, uint64_t length)
{
	struct part *part = &job->part[job->parts];

	if (job->parts == PARTS)
		return false;
	job->parts++;
	part->level = level;
	part->child = (struct block_request){
		.operation = job->request->operation, .offset = host, .length = length, .done = part_done, .device = job};
	return true;
}

#define LEVEL_ZERO UINT32_MAX /* no file: zeroes */

/* Where the bytes at `offset` are to be read, down the chain. *length becomes what lies there together. False: not without I/O, or not by copying. */
static bool read_find(struct image *image, unsigned level, uint64_t offset, uint64_t *length, struct job *job)
{
	struct qcow2_extent extent;

	for (;; image = image->backing, level++) {
		if (!image || offset >= image->size)
			return part_add(job, LEVEL_ZERO, offset, *length);
		if (*length > image->size - offset)
			*length = image->size - offset;
		if (!image->qcow2)
			return part_add(job, level, offset, *length);
		if (level)
			pthread_mutex_lock(&image->qcow2->lock); /* the image's own is held */
		qcow2_extent_peek(image->qcow2, offset, *length, &extent);
		if (level)
			pthread_mutex_unlock(&image->qcow2->lock);
		*length = extent.length;
		if (extent.kind == QCOW2_DATA)
			return part_add(job, level, extent.host, *length);
		if (extent.kind == QCOW2_ZERO)
			return part_add(job, LEVEL_ZERO, offset, *length);
		if (extent.kind != QCOW2_ABSENT)
			return false;
	}
}

static bool write_find(struct qcow2 *q, uint64_t offset, uint64_t *length, struct job *job)
{
	struct qcow2_extent extent;

	qcow2_extent_peek(q, offset, *length, &extent);
	*length = extent.length;
	return extent.kind == QCOW2_DATA && extent.copied && part_add(job, 0, extent.host, *length);
}

/* Finds all parts and enters the range. */
static bool job_plan(struct job *job)
{
	struct qcow2_disk *disk = job->disk;
	struct qcow2 *q = disk->q;
	const struct block_request *request = job->request;
	uint64_t offset = request->offset, left = request->length;
	bool quick = true;

	pthread_mutex_lock(&q->lock);
	while (quick && left) {
		uint64_t length = left;

		if (request->operation == BLOCK_READ)
			quick = read_find(disk->image, 0, offset, &length, job);
		else
			quick = write_find(q, offset, &length, job);
		offset += length;
		left -= length;
	}
	quick = quick && qcow2_range_try(q, &job->range, request->offset, request->length);
	pthread_mutex_unlock(&q->lock);
	return quick;
}

/* Deals the request's segments out to its parts. */
static bool segments_deal(struct job *job)
{
	const struct block_request *request = job->request;
	struct block_segment *out;
	uint64_t skip = 0;
	unsigned from = 0;

	if (job->parts == 1) {
		job->part[0].child.segment = request->segment;
		job->part[0].child.segments = request->segments;
		return true;
	}
	out = job->segment = malloc((request->segments + (size_t)PARTS) * sizeof(*out));
	if (!out)
		return false;
	for (unsigned i = 0; i < job->parts; i++) {
		struct block_request *child = &job->part[i].child;
		uint64_t left = child->length;

		child->segment = out;
		while (left) {
			uint64_t length = request->segment[from].length - skip;

			length = length < left ? length : left;
			*out++ = (struct block_segment){(uint8_t *)request->segment[from].base + skip, length};
			left -= length;
			skip += length;
			if (skip == request->segment[from].length) {
				from++;
				skip = 0;
			}
		}
		child->segments = (unsigned)(out - child->segment);
	}
	return true;
}

static struct job *job_make(struct qcow2_disk *disk, struct block_request *request)
{
	bool flush = request->operation == BLOCK_FLUSH, quick = false;
	struct qcow2 *q = disk->q;
	struct job *job;

	if (request->operation == BLOCK_DISCARD || request->operation == BLOCK_WRITE_ZEROES || atomic_load(&q->corrupt))
		return NULL;
	if (flush && (atomic_load(&q->dirty) || atomic_load(&q->committing)))
		return NULL;
	job = job_take(disk, request);
	if (!job)
		return NULL;
	if (flush) {
		quick = part_add(job, 0, 0, 0);
	} else if (job_plan(job)) {
		quick = segments_deal(job);
		if (!quick)
			qcow2_range_leave(q, &job->range);
	}
	atomic_store(&job->left, job->parts);
	if (quick)
		return job;
	job_drop(job);
	return NULL;
}

static void part_zero(const struct block_request *child)
{
	for (unsigned i = 0; i < child->segments; i++)
		memset(child->segment[i].base, 0, child->segment[i].length);
}

/* Submitting */

struct batch {
	struct block_request *list[IMAGE_CHAIN_MAX + 1], **end[IMAGE_CHAIN_MAX + 1];
	struct block_request *zeroes; /* parts that are done by hand */
};

static void batch_add(struct batch *batch, struct job *job)
{
	for (unsigned i = 0; i < job->parts; i++) {
		struct part *part = &job->part[i];

		if (part->level == LEVEL_ZERO) {
			part_zero(&part->child);
			part->child.next = batch->zeroes;
			batch->zeroes = &part->child;
		} else {
			*batch->end[part->level] = &part->child;
			batch->end[part->level] = &part->child.next;
		}
	}
}

static void batch_submit(struct qcow2_disk *disk, struct batch *batch)
{
	for (unsigned i = 0; i < disk->files; i++) {
		*batch->end[i] = NULL;
		if (batch->list[i])
			disk->file[i]->submit(disk->file[i], batch->list[i]);
	}
	while (batch->zeroes) {
		struct block_request *child = batch->zeroes;

		batch->zeroes = child->next; /* its job may be gone after this */
		part_done(child, STATUS_OK);
	}
}

static void queue_add(struct qcow2_disk *disk, struct block_request *list, struct block_request **end)
{
	bool several = list->next != NULL;

	pthread_mutex_lock(&disk->lock);
	*disk->waiting_end = list;
	disk->waiting_end = end;
	pthread_mutex_unlock(&disk->lock);
	if (several)
		pthread_cond_broadcast(&disk->more);
	else
		pthread_cond_signal(&disk->more);
}

static void block_qcow2_submit(struct block *block, struct block_request *list)
{
	struct qcow2_disk *disk = disk_of(block);
	struct block_request *slow = NULL, **slow_end = &slow, *request, *next;
	struct batch batch;
	unsigned count = 0;

	batch.zeroes = NULL;
	for (unsigned i = 0; i < disk->files; i++) {
		batch.list[i] = NULL;
		batch.end[i] = &batch.list[i];
	}
	for (request = list; request; request = request->next)
		count++;
	pthread_mutex_lock(&disk->lock);
	disk->under_way += count;
	pthread_mutex_unlock(&disk->lock);
	for (request = list; request; request = next) {
		struct job *job = job_make(disk, request);

		next = request->next;
		if (job) {
			batch_add(&batch, job);
			continue;
		}
		request->next = NULL;
		*slow_end = request;
		slow_end = &request->next;
	}
	if (slow)
		queue_add(disk, slow, slow_end);
	batch_submit(disk, &batch);
}

/* The slow way */

static enum status request_execute(struct qcow2_disk *disk, struct block_request *request)
{
	struct image_cursor cursor = image_cursor_of((const struct iovec *)(const void *)request->segment);
	struct qcow2_range range;
	enum status status = STATUS_OK;

	if (request->operation == BLOCK_FLUSH)
		return qcow2_flush(disk->q);
	qcow2_range_enter(disk->q, &range, request->offset, request->length, request->operation != BLOCK_READ);
	switch (request->operation) {
	case BLOCK_READ: status = qcow2_read(disk->q, request->offset, request->length, &cursor); break;
	case BLOCK_WRITE: status = qcow2_write(disk->q, request->offset, request->length, &cursor); break;
	case BLOCK_DISCARD: status = qcow2_discard(disk->q, request->offset, request->length); break;
	case BLOCK_WRITE_ZEROES: status = qcow2_write_zeroes(disk->q, request->offset, request->length, request->may_unmap); break;
	case BLOCK_FLUSH: break;
	}
	qcow2_range_leave(disk->q, &range);
	return status;
}

static void *worker_main(void *argument)
{
	struct qcow2_disk *disk = argument;

	pthread_mutex_lock(&disk->lock);
	for (;;) {
		struct block_request *request = disk->waiting;

		if (!request && disk->stopping)
			break;
		if (!request) {
			pthread_cond_wait(&disk->more, &disk->lock);
			continue;
		}
		disk->waiting = request->next;
		if (!disk->waiting)
			disk->waiting_end = &disk->waiting;
		pthread_mutex_unlock(&disk->lock);
		request_done(disk, request, request_execute(disk, request));
		pthread_mutex_lock(&disk->lock);
	}
	pthread_mutex_unlock(&disk->lock);
	return NULL;
}

static void block_qcow2_drain(struct block *block)
{
	struct qcow2_disk *disk = disk_of(block);

	pthread_mutex_lock(&disk->lock);
	while (disk->under_way)
		pthread_cond_wait(&disk->idle, &disk->lock);
	pthread_mutex_unlock(&disk->lock);
}

/* While it grows, L1 has two places: no other request is under way anywhere in the image, and those that come wait. */
static enum status block_qcow2_extend(struct block *block, uint64_t size, struct reason *why)
{
	struct qcow2_disk *disk = disk_of(block);
	struct qcow2_range range;
	enum status status;

	qcow2_range_enter(disk->q, &range, 0, INT64_MAX, true);
	status = qcow2_resize(disk->q, size, why);
	qcow2_range_leave(disk->q, &range);
	if (status)
		return status;
	pthread_mutex_lock(&disk->q->lock);
	disk->image->size = size;
	pthread_mutex_unlock(&disk->q->lock);
	return STATUS_OK;
}

static void workers_stop(struct qcow2_disk *disk)
{
	pthread_mutex_lock(&disk->lock);
	disk->stopping = true;
	pthread_mutex_unlock(&disk->lock);
	pthread_cond_broadcast(&disk->more);
	while (disk->workers)
		pthread_join(disk->worker[--disk->workers], NULL);
}

static void disk_free(struct qcow2_disk *disk)
{
	while (disk->files) {
		struct block *file = disk->file[--disk->files];

		file->close(file);
	}
	while (disk->job) {
		struct job *job = disk->job;

		disk->job = job->next;
		free(job);
	}
	if (disk->image && image_close(disk->image))
		host_log(HOST_LOG_WARN, "disk: an image could not be closed in order; at worst some of its clusters leak");
	pthread_cond_destroy(&disk->more);
	pthread_cond_destroy(&disk->idle);
	pthread_mutex_destroy(&disk->lock);
	free(disk);
}

static void block_qcow2_close(struct block *block)
{
	struct qcow2_disk *disk = disk_of(block);

	block_qcow2_drain(block);
	workers_stop(disk);
	disk_free(disk);
}

static enum status files_lend(struct qcow2_disk *disk, struct reason *why)
{
	enum status status = STATUS_OK;

	for (struct image *image = disk->image; !status && image; image = image->backing) {
		const struct image_file *file = image->qcow2 ? &image->qcow2->file : &image->file;

		status = block_raw_lend(&disk->file[disk->files], file->fd, file->path, image->readonly, why);
		disk->files += !status;
	}
	return status;
}

static enum status workers_start(struct qcow2_disk *disk, struct reason *why)
{
	enum status status = STATUS_OK;

	while (!status && disk->workers < WORKERS) {
		status = block_thread_start(&disk->worker[disk->workers], worker_main, disk);
		disk->workers += !status;
	}
	if (disk->workers)
		return STATUS_OK; /* one is enough to go on */
	return reason_give(why, status, "disk %s: no thread could be started for it; check the limit on processes (ulimit -u)",
			   disk->image->path);
}

enum status block_qcow2_open(struct block **block, const char *path, bool readonly, struct reason *why)
{
	struct image_options options = {.readonly = readonly};
	struct qcow2_disk *disk = calloc(1, sizeof(*disk));
	enum status status;

	*block = NULL;
	if (!disk)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", path);
	pthread_mutex_init(&disk->lock, NULL);
	pthread_cond_init(&disk->more, NULL);
	pthread_cond_init(&disk->idle, NULL);
	disk->waiting_end = &disk->waiting;
	status = image_open(&disk->image, path, IMAGE_QCOW2, &options, why);
	if (!status && disk->image->size < QCOW2_SECTOR)
		status = reason_give(why, STATUS_INVALID, "disk %s: it has no size; enlarge it: holon disk resize %s 8G", path,
				     path);
	if (!status)
		status = files_lend(disk, why);
	if (!status)
		status = workers_start(disk, why);
	if (status) {
		disk_free(disk);
		return status;
	}
	disk->q = disk->image->qcow2;
	disk->block = (struct block){.submit = block_qcow2_submit,
				     .drain = block_qcow2_drain,
				     .close = block_qcow2_close,
				     .extend = block_qcow2_extend,
				     .size = disk->image->size,
				     .block_size = QCOW2_SECTOR,
				     .discard_granularity = readonly ? 0 : disk->q->cluster_size,
				     .readonly = readonly,
				     .path = disk->image->path};
	*block = &disk->block;
	return STATUS_OK;
}
