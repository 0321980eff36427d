/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_submit.c - which way a request goes: what the host's memory can answer is done here, on the submitter's thread; raw_uring.c or raw_threads.c get the rest.
 *
 * Transfers ask the page cache (RWF_NOWAIT) and go the long way where they would have to wait. On a file system in memory nothing has to be
 * waited for at all. Handing such a request to another thread and being told of its end costs more than the copy itself. What one
 * submission may copy is bounded: its thread is a vcpu's, and its guest should not miss it.
 */
#include <errno.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <holon/host.h>

#include "raw_disk.h"

#define RAW_AT_ONCE_BYTES (1u << 20)

void raw_submit_open(struct raw_disk *disk)
{
	struct statfs file_system;

	disk->in_memory =
		!fstatfs(disk->fd, &file_system) && (file_system.f_type == TMPFS_MAGIC || file_system.f_type == RAMFS_MAGIC);
}

static bool at_once_may(struct raw_disk *disk, const struct block_request *request, uint64_t budget)
{
	if (request->elsewhere || request->length > budget)
		return false;
	switch (request->operation) {
	case BLOCK_READ: return !atomic_load_explicit(&disk->no_nowait_read, memory_order_relaxed);
	case BLOCK_WRITE: return !atomic_load_explicit(&disk->no_nowait_write, memory_order_relaxed);
	case BLOCK_FLUSH: return disk->in_memory;
	default: return false;
	}
}

/* Returns true when the request is complete. Errors are the long way's to meet again and to report. */
static bool at_once_try(struct raw_disk *disk, struct block_request *request, enum status *status)
{
	const int flags = disk->in_memory ? 0 : RWF_NOWAIT;
	struct raw_step step;
	ssize_t result;

	raw_step_next(disk, request, &step);
	if (step.call == RAW_FDATASYNC)
		result = fdatasync(disk->fd);
	else if (step.call == RAW_READV)
		result = preadv2(disk->fd, step.vector, (int)step.vectors, (off_t)step.offset, flags);
	else
		result = pwritev2(disk->fd, step.vector, (int)step.vectors, (off_t)step.offset, flags);
	if (result < 0 && errno == EOPNOTSUPP)
		atomic_store_explicit(step.call == RAW_READV ? &disk->no_nowait_read : &disk->no_nowait_write, true,
				      memory_order_relaxed);
	return result >= 0 && raw_step_result(disk, request, (int)result, status);
}

/*
 * Where a write cannot be told not to wait, io_uring gives it to a thread of the kernel's, whose end wakes ours. One of our own spares the detour; one
 * is enough, for such a file system writes a file from one thread at a time. Started when it is found to be needed.
 */
static struct raw_pool *at_once_writer(struct raw_disk *disk)
{
	struct raw_pool *writer;

	if (!atomic_load_explicit(&disk->no_nowait_write, memory_order_relaxed) || disk->io == &raw_threads)
		return NULL;
	pthread_mutex_lock(&disk->lock);
	if (!disk->writer && raw_pool_start(&disk->writer, disk, 1) != STATUS_OK)
		host_log(HOST_LOG_DEBUG, "disk %s: no thread for writes: io_uring has them", disk->path);
	writer = disk->writer;
	pthread_mutex_unlock(&disk->lock);
	return writer;
}

static void list_add(struct block_request ***end, struct block_request *request)
{
	**end = request;
	*end = &request->next;
}

void raw_submit(struct raw_disk *disk, struct block_request *list)
{
	struct block_request *rest = NULL, **rest_end = &rest, *writes = NULL, **writes_end = &writes;
	uint64_t budget = RAW_AT_ONCE_BYTES;
	struct raw_pool *writer;

	if (disk->direct) { /* nothing is in the host's memory */
		raw_direct_submit(disk, list);
		return;
	}
	while (list) {
		struct block_request *request = list;
		enum status status;

		list = request->next;
		if (at_once_may(disk, request, budget) && at_once_try(disk, request, &status)) {
			budget -= request->length;
			raw_request_done(disk, request, status);
		} else {
			list_add(request->operation == BLOCK_WRITE ? &writes_end : &rest_end, request);
		}
	}
	*writes_end = NULL;
	writer = writes ? at_once_writer(disk) : NULL;
	*rest_end = writer ? NULL : writes;
	if (writer)
		raw_pool_submit(writer, writes);
	if (rest)
		disk->io->submit(disk, rest);
}
