/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_behind.c - writing behind a guest: what it writes one after the other begins its way to the host's disk at once, not when the guest flushes.
 *
 * The host's page cache keeps written pages for half a minute. A guest that copies a file and flushes would wait first for the copies and then for the disk, and on a
 * host with much memory a flush may find gigabytes. So each 4 MiB of a stream of writes is handed to the host's disk as soon as the guest has filled it
 * (sync_file_range), by a request of our own, one at a time: a disk that cannot follow gets longer pieces, and no write of the guest's waits. What is written here and there stays in the
 * cache: it may well be written again. Durability is the flush's alone: it waits for these pages as for any, and it is what reports their errors.
 */
#include "raw_disk.h"

#define BEHIND_BYTES (4u << 20)
#define BEHIND_BYTES_MAX (1u << 30) /* io_uring counts in 32 bits */

static void behind_done(struct block_request *request, enum status status)
{
	struct raw_disk *disk = request->device;

	(void)status;
	pthread_mutex_lock(&disk->lock);
	disk->behind.under_way = false;
	pthread_mutex_unlock(&disk->lock);
}

/* The stream that the write goes on with, or a new one in the place of the one that was begun longest ago. */
static struct raw_stream *stream_find(struct raw_behind *behind, uint64_t offset)
{
	for (unsigned i = 0; i < RAW_STREAMS; i++)
		if (behind->stream[i].end == offset)
			return &behind->stream[i];
	behind->oldest = (behind->oldest + 1) % RAW_STREAMS;
	behind->stream[behind->oldest].begin = offset;
	return &behind->stream[behind->oldest];
}

struct block_request *raw_behind_written(struct raw_disk *disk, uint64_t offset, uint64_t length)
{
	struct raw_behind *behind = &disk->behind;
	struct raw_stream *stream = stream_find(behind, offset);
	uint64_t unwritten;

	stream->end = offset + length;
	unwritten = stream->end - stream->begin;
	if (unwritten < BEHIND_BYTES || behind->under_way)
		return NULL;
	if (unwritten > BEHIND_BYTES_MAX)
		unwritten = BEHIND_BYTES_MAX;
	behind->under_way = true;
	behind->request = (struct block_request){
		.operation = BLOCK_FLUSH, .offset = stream->begin, .length = unwritten, .done = behind_done, .device = disk};
	stream->begin += unwritten;
	return &behind->request;
}
