/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_uring.c - system calls through io_uring: one ring a disk, a thread that sleeps in the kernel until one completes.
 *
 * Whoever submits fills the submission queue under `lock` and enters the kernel once for the whole batch. The thread alone
 * touches the completion queue; it takes `lock` before it looks at requests, so that it sees what the submitter wrote.
 */
#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <holon/host.h>

#include "block_thread.h"
#include "raw_disk.h"

#define RAW_URING_ENTRIES 128

struct raw_uring_data {
	struct io_uring ring;
	pthread_t thread;
	pthread_mutex_t lock;          /* the submission queue and what follows */
	struct block_request *waiting; /* for a place in the ring */
	struct block_request **waiting_end;
	unsigned in_ring;
};

static void sqe_fill(struct raw_disk *disk, struct block_request *request, struct io_uring_sqe *sqe)
{
	struct raw_step step;

	raw_step_next(disk, request, &step);
	switch (step.call) {
	case RAW_READV: io_uring_prep_readv(sqe, disk->fd, step.vector, step.vectors, step.offset); break;
	case RAW_WRITEV: io_uring_prep_writev(sqe, disk->fd, step.vector, step.vectors, step.offset); break;
	case RAW_FDATASYNC: io_uring_prep_fsync(sqe, disk->fd, IORING_FSYNC_DATASYNC); break;
	case RAW_FALLOCATE: io_uring_prep_fallocate(sqe, disk->fd, step.mode, (off_t)step.offset, (off_t)step.length); break;
	case RAW_WRITE_OUT:
		io_uring_prep_sync_file_range(sqe, disk->fd, (unsigned)step.length, step.offset, SYNC_FILE_RANGE_WRITE);
		break;
	}
	io_uring_sqe_set_data(sqe, request);
}

/* The kernel takes what is in the submission queue; it may be short of memory for a moment. */
static void ring_enter_locked(struct raw_disk *disk, struct raw_uring_data *data)
{
	while (io_uring_sq_ready(&data->ring)) {
		int result = io_uring_submit(&data->ring);

		if (result < 0 && result != -EINTR) {
			host_log(HOST_LOG_WARN, "disk %s: io_uring does not take requests: %s; trying again", disk->path,
				 strerror(-result));
			sched_yield();
		}
	}
}

static void ring_fill_locked(struct raw_disk *disk, struct raw_uring_data *data)
{
	while (data->waiting && data->in_ring < RAW_URING_ENTRIES) {
		struct block_request *request = data->waiting;

		data->waiting = request->next;
		if (!data->waiting)
			data->waiting_end = &data->waiting;
		sqe_fill(disk, request, io_uring_get_sqe(&data->ring)); /* there is one: in_ring counts them */
		data->in_ring++;
	}
	ring_enter_locked(disk, data);
}

static void waiting_add_locked(struct raw_uring_data *data, struct block_request *request)
{
	request->next = NULL;
	*data->waiting_end = request;
	data->waiting_end = &request->next;
}

static void raw_uring_submit(struct raw_disk *disk, struct block_request *list)
{
	struct raw_uring_data *data = disk->io_data;

	pthread_mutex_lock(&data->lock);
	while (list) {
		struct block_request *next = list->next;

		waiting_add_locked(data, list);
		list = next;
	}
	ring_fill_locked(disk, data);
	pthread_mutex_unlock(&data->lock);
}

/* Takes every completion that is there. Finished requests come back as a list with their status in backend_word[0]. */
static struct block_request *ring_reap_locked(struct raw_disk *disk, struct raw_uring_data *data, bool *stop)
{
	struct block_request *finished = NULL, **end = &finished;
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;

	io_uring_for_each_cqe(&data->ring, head, cqe)
	{
		struct block_request *request = io_uring_cqe_get_data(cqe);
		enum status status;

		count++;
		data->in_ring--;
		if (!request) {
			*stop = true;
		} else if (raw_step_result(disk, request, cqe->res, &status)) {
			request->backend_word[0] = status;
			*end = request;
			end = &request->next;
		} else {
			waiting_add_locked(data, request);
		}
	}
	*end = NULL;
	io_uring_cq_advance(&data->ring, count);
	return finished;
}

static void *raw_uring_main(void *argument)
{
	struct raw_disk *disk = argument;
	struct raw_uring_data *data = disk->io_data;
	bool stop = false;

	while (!stop) {
		struct block_request *finished;
		struct io_uring_cqe *cqe;

		if (io_uring_wait_cqe(&data->ring, &cqe) < 0)
			continue; /* EINTR */
		pthread_mutex_lock(&data->lock);
		finished = ring_reap_locked(disk, data, &stop);
		ring_fill_locked(disk, data);
		pthread_mutex_unlock(&data->lock);
		while (finished) {
			struct block_request *request = finished;

			finished = request->next;
			raw_request_done(disk, request, (enum status)request->backend_word[0]);
		}
	}
	return NULL;
}

/* Kernels before 5.6 lack some of the calls. */
static bool ring_complete(struct io_uring *ring)
{
	static const uint8_t needed[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
					 IORING_OP_SYNC_FILE_RANGE};
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool complete = probe != NULL;

	for (unsigned i = 0; complete && i < sizeof(needed); i++)
		complete = io_uring_opcode_supported(probe, needed[i]);
	io_uring_free_probe(probe);
	return complete;
}

static enum status raw_uring_start(struct raw_disk *disk)
{
	struct raw_uring_data *data = calloc(1, sizeof(*data));
	enum status status = STATUS_UNSUPPORTED;

	if (!data)
		return STATUS_NO_MEMORY;
	if (io_uring_queue_init(RAW_URING_ENTRIES, &data->ring, 0) < 0)
		goto free_data;
	if (!ring_complete(&data->ring))
		goto exit_ring;
	pthread_mutex_init(&data->lock, NULL);
	data->waiting_end = &data->waiting;
	disk->io_data = data;
	status = block_thread_start(&data->thread, raw_uring_main, disk);
	if (status == STATUS_OK)
		return STATUS_OK;
	pthread_mutex_destroy(&data->lock);
exit_ring:
	io_uring_queue_exit(&data->ring);
free_data:
	free(data);
	disk->io_data = NULL;
	return status;
}

static void raw_uring_stop(struct raw_disk *disk)
{
	struct raw_uring_data *data = disk->io_data;
	struct io_uring_sqe *sqe;

	pthread_mutex_lock(&data->lock);
	sqe = io_uring_get_sqe(&data->ring);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, NULL);
	data->in_ring++;
	ring_enter_locked(disk, data);
	pthread_mutex_unlock(&data->lock);
	pthread_join(data->thread, NULL);
	io_uring_queue_exit(&data->ring);
	pthread_mutex_destroy(&data->lock);
	free(data);
}

const struct raw_io raw_uring = {
	.name = "io_uring",
	.start = raw_uring_start,
	.submit = raw_uring_submit,
	.stop = raw_uring_stop,
};
