/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_threads.c - system calls from a small pool of threads: for hosts without io_uring, and for what io_uring would hand to threads of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "block_thread.h"
#include "raw_disk.h"

#define RAW_THREADS 4

struct raw_pool {
	struct raw_disk *disk;
	pthread_t thread[RAW_THREADS];
	unsigned threads;
	pthread_mutex_t lock; /* what follows */
	pthread_cond_t more;
	struct block_request *waiting;
	struct block_request **waiting_end;
	bool stopping;
};

static int step_call(struct raw_disk *disk, const struct raw_step *step)
{
	bool transfer = step->call == RAW_READV || step->call == RAW_WRITEV;
	ssize_t result = -1;

	if (disk->direct && transfer && !raw_direct_fits(disk, step))
		return raw_direct_transfer(disk, step);
	switch (step->call) {
	case RAW_READV: result = preadv(disk->fd, step->vector, (int)step->vectors, (off_t)step->offset); break;
	case RAW_WRITEV: result = pwritev(disk->fd, step->vector, (int)step->vectors, (off_t)step->offset); break;
	case RAW_FDATASYNC: result = fdatasync(disk->fd); break;
	case RAW_FALLOCATE: result = fallocate(disk->fd, step->mode, (off_t)step->offset, (off_t)step->length); break;
	case RAW_WRITE_OUT:
		result = sync_file_range(disk->fd, (off_t)step->offset, (off_t)step->length, SYNC_FILE_RANGE_WRITE);
		break;
	}
	return result < 0 ? -errno : (int)result; /* the kernel transfers at most 2 GiB less a page at once */
}

static void request_execute(struct raw_disk *disk, struct block_request *request)
{
	struct raw_step step;
	enum status status;

	do
		raw_step_next(disk, request, &step);
	while (!raw_step_result(disk, request, step_call(disk, &step), &status));
	raw_request_done(disk, request, status);
}

static void *raw_pool_main(void *argument)
{
	struct raw_pool *pool = argument;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct block_request *request = pool->waiting;

		if (!request && pool->stopping)
			break;
		if (!request) {
			pthread_cond_wait(&pool->more, &pool->lock);
			continue;
		}
		pool->waiting = request->next;
		if (!pool->waiting)
			pool->waiting_end = &pool->waiting;
		pthread_mutex_unlock(&pool->lock);
		request_execute(pool->disk, request);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

void raw_pool_submit(struct raw_pool *pool, struct block_request *list)
{
	bool several = list->next != NULL;

	pthread_mutex_lock(&pool->lock);
	*pool->waiting_end = list;
	while (list->next)
		list = list->next;
	pool->waiting_end = &list->next;
	pthread_mutex_unlock(&pool->lock);
	if (several)
		pthread_cond_broadcast(&pool->more);
	else
		pthread_cond_signal(&pool->more);
}

void raw_pool_stop(struct raw_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_mutex_unlock(&pool->lock);
	pthread_cond_broadcast(&pool->more);
	for (unsigned i = 0; i < pool->threads; i++)
		pthread_join(pool->thread[i], NULL);
	pthread_cond_destroy(&pool->more);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

enum status raw_pool_start(struct raw_pool **started, struct raw_disk *disk, unsigned threads)
{
	struct raw_pool *pool = calloc(1, sizeof(*pool));
	enum status status = STATUS_OK;

	if (!pool)
		return STATUS_NO_MEMORY;
	pool->disk = disk;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->more, NULL);
	pool->waiting_end = &pool->waiting;
	while (status == STATUS_OK && pool->threads < threads) {
		status = block_thread_start(&pool->thread[pool->threads], raw_pool_main, pool);
		if (status == STATUS_OK)
			pool->threads++;
	}
	if (pool->threads == 0) {
		raw_pool_stop(pool);
		return status;
	}
	*started = pool; /* one is enough to go on */
	return STATUS_OK;
}

static enum status raw_threads_start(struct raw_disk *disk)
{
	struct raw_pool *pool = NULL;
	enum status status = raw_pool_start(&pool, disk, RAW_THREADS);

	disk->io_data = pool;
	return status;
}

static void raw_threads_submit(struct raw_disk *disk, struct block_request *list)
{
	raw_pool_submit(disk->io_data, list);
}

static void raw_threads_stop(struct raw_disk *disk)
{
	raw_pool_stop(disk->io_data);
}

const struct raw_io raw_threads = {
	.name = "threads",
	.start = raw_threads_start,
	.submit = raw_threads_submit,
	.stop = raw_threads_stop,
};
