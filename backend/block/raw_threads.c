/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_threads.c - system calls from a small pool of threads, for hosts without io_uring.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "block_thread.h"
#include "raw_disk.h"

#define RAW_THREADS 4

struct raw_threads_data {
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
	ssize_t result = -1;

	switch (step->call) {
	case RAW_READV: result = preadv(disk->fd, step->vector, (int)step->vectors, (off_t)step->offset); break;
	case RAW_WRITEV: result = pwritev(disk->fd, step->vector, (int)step->vectors, (off_t)step->offset); break;
	case RAW_FDATASYNC: result = fdatasync(disk->fd); break;
	case RAW_FALLOCATE: result = fallocate(disk->fd, step->mode, (off_t)step->offset, (off_t)step->length); break;
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

static void *raw_threads_main(void *argument)
{
	struct raw_disk *disk = argument;
	struct raw_threads_data *data = disk->io_data;

	pthread_mutex_lock(&data->lock);
	for (;;) {
		struct block_request *request = data->waiting;

		if (!request && data->stopping)
			break;
		if (!request) {
			pthread_cond_wait(&data->more, &data->lock);
			continue;
		}
		data->waiting = request->next;
		if (!data->waiting)
			data->waiting_end = &data->waiting;
		pthread_mutex_unlock(&data->lock);
		request_execute(disk, request);
		pthread_mutex_lock(&data->lock);
	}
	pthread_mutex_unlock(&data->lock);
	return NULL;
}

static void raw_threads_submit(struct raw_disk *disk, struct block_request *list)
{
	struct raw_threads_data *data = disk->io_data;
	bool several = list->next != NULL;

	pthread_mutex_lock(&data->lock);
	*data->waiting_end = list;
	while (list->next)
		list = list->next;
	data->waiting_end = &list->next;
	pthread_mutex_unlock(&data->lock);
	if (several)
		pthread_cond_broadcast(&data->more);
	else
		pthread_cond_signal(&data->more);
}

static void raw_threads_stop(struct raw_disk *disk)
{
	struct raw_threads_data *data = disk->io_data;

	pthread_mutex_lock(&data->lock);
	data->stopping = true;
	pthread_mutex_unlock(&data->lock);
	pthread_cond_broadcast(&data->more);
	for (unsigned i = 0; i < data->threads; i++)
		pthread_join(data->thread[i], NULL);
	pthread_cond_destroy(&data->more);
	pthread_mutex_destroy(&data->lock);
	free(data);
}

static enum status raw_threads_start(struct raw_disk *disk)
{
	struct raw_threads_data *data = calloc(1, sizeof(*data));
	enum status status = STATUS_OK;

	if (!data)
		return STATUS_NO_MEMORY;
	pthread_mutex_init(&data->lock, NULL);
	pthread_cond_init(&data->more, NULL);
	data->waiting_end = &data->waiting;
	disk->io_data = data;
	while (status == STATUS_OK && data->threads < RAW_THREADS) {
		status = block_thread_start(&data->thread[data->threads], raw_threads_main, disk);
		if (status == STATUS_OK)
			data->threads++;
	}
	if (status == STATUS_OK || data->threads)
		return STATUS_OK; /* one is enough to go on */
	raw_threads_stop(disk);
	disk->io_data = NULL;
	return status;
}

const struct raw_io raw_threads = {
	.name = "threads",
	.start = raw_threads_start,
	.submit = raw_threads_submit,
	.stop = raw_threads_stop,
};
