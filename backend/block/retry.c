/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.c - onerror=pause: a request that fails because the host's disk is full or broken is kept, and tried again every second.
 *
 * The owner pauses the VM as long as one is kept, so the guest sees no more of it than a disk that was slow. Requests that are under way when the first
 * one fails, and those that the vcpus still make before they stand, come to the same end. A drain waits for all of them, as
 * long as the host needs; give_up tells the guest after all, which is for a VM that ends.
 */
#include "retry.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <holon/host.h>

#include "block_thread.h"

#define RETRY_SECONDS 1

struct retry {
	struct block block;
	struct block *inner;
	struct block_retry_owner owner;
	pthread_t thread;
	pthread_mutex_t lock; /* what follows; a leaf */
	pthread_cond_t changed;
	struct block_request *kept;
	unsigned under_way; /* submitted and not done */
	unsigned failed;    /* of those, how many the host has refused once or more */
	bool give_up;
	bool stopping;
};

static struct retry *retry_of(struct block *block)
{
	return (struct retry *)(void *)((uint8_t *)block - offsetof(struct retry, block));
}

/* A VM that ends takes its requests back as they are: then nothing works again. */
static void waiting_tell(struct retry *retry, bool waiting, enum status status)
{
	if (waiting)
		host_log(HOST_LOG_WARN,
			 "disk %s: %s on the host: the VM is paused, and nothing is lost; make the disk work again (free some "
			 "space): it is "
			 "tried again every second",
			 retry->block.path, status == STATUS_NO_SPACE ? "no space left" : "input or output fails");
	else if (!status)
		host_log(HOST_LOG_INFO, "disk %s: works again: the VM goes on", retry->block.path);
	retry->owner.waiting(retry->owner.object, waiting);
}

/* The request goes back to its device. */
static void request_end(struct retry *retry, struct block_request *request, enum status status)
{
	bool failed_before = request->filter_status != STATUS_OK, recovered;

	request->done = request->filter_done;
	pthread_mutex_lock(&retry->lock);
	retry->failed -= failed_before;
	recovered = failed_before && !retry->failed;
	pthread_mutex_unlock(&retry->lock);
	request->done(request, status);
	if (recovered)
		waiting_tell(retry, false, status);
	pthread_mutex_lock(&retry->lock);
	if (--retry->under_way == 0)
		pthread_cond_broadcast(&retry->changed);
	pthread_mutex_unlock(&retry->lock);
}

static bool status_passes(enum status status)
{
	return status == STATUS_NO_SPACE || status == STATUS_IO;
}

static void retry_done(struct block_request *request, enum status status)
{
	struct retry *retry = request->filter;
	bool keep, first = false;

	pthread_mutex_lock(&retry->lock);
	keep = status_passes(status) && !retry->give_up;
	if (keep) {
		if (request->filter_status == STATUS_OK)
			first = retry->failed++ == 0;
		request->filter_status = status;
		request->next = retry->kept;
		retry->kept = request;
		pthread_cond_broadcast(&retry->changed);
	}
	pthread_mutex_unlock(&retry->lock);
	if (!keep)
		request_end(retry, request, status);
	else if (first)
		waiting_tell(retry, true, status);
}

static void retry_submit(struct block *block, struct block_request *list)
{
	struct retry *retry = retry_of(block);
	unsigned count = 0;

	for (struct block_request *request = list; request; request = request->next) {
		request->filter_done = request->done;
		request->filter = retry;
		request->filter_status = STATUS_OK;
		request->done = retry_done;
		count++;
	}
	pthread_mutex_lock(&retry->lock);
	retry->under_way += count;
	pthread_mutex_unlock(&retry->lock);
	retry->inner->submit(retry->inner, list);
}

static void second_wait_locked(struct retry *retry)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RETRY_SECONDS;
	while (!retry->give_up && !retry->stopping && pthread_cond_timedwait(&retry->changed, &retry->lock, &until) == 0)
		;
}

/* Tries what is kept once more, or gives it back. */
static void kept_serve_locked(struct retry *retry)
{
	struct block_request *list = retry->kept;
	bool end = retry->give_up;

	retry->kept = NULL;
	pthread_mutex_unlock(&retry->lock);
	if (!end)
		retry->inner->submit(retry->inner, list);
	while (end && list) {
		struct block_request *request = list;

		list = request->next;
		request_end(retry, request, request->filter_status);
	}
	pthread_mutex_lock(&retry->lock);
}

static void *retry_main(void *argument)
{
	struct retry *retry = argument;

	pthread_mutex_lock(&retry->lock);
	while (!retry->stopping) {
		if (retry->kept) {
			second_wait_locked(retry);
			kept_serve_locked(retry);
		} else {
			pthread_cond_wait(&retry->changed, &retry->lock);
		}
	}
	pthread_mutex_unlock(&retry->lock);
	return NULL;
}

static void retry_drain(struct block *block)
{
	struct retry *retry = retry_of(block);

	retry->inner->drain(retry->inner);
	pthread_mutex_lock(&retry->lock);
	while (retry->under_way)
		pthread_cond_wait(&retry->changed, &retry->lock);
	pthread_mutex_unlock(&retry->lock);
	retry->inner->drain(retry->inner);
}

static void retry_give_up(struct block *block)
{
	struct retry *retry = retry_of(block);

	pthread_mutex_lock(&retry->lock);
	retry->give_up = true;
	pthread_cond_broadcast(&retry->changed);
	pthread_mutex_unlock(&retry->lock);
	if (retry->inner->give_up)
		retry->inner->give_up(retry->inner);
}

static enum status retry_extend(struct block *block, uint64_t size, struct reason *why)
{
	return block_resize(retry_of(block)->inner, size, why);
}

static void retry_free(struct retry *retry)
{
	pthread_cond_destroy(&retry->changed);
	pthread_mutex_destroy(&retry->lock);
	free(retry);
}

static void retry_close(struct block *block)
{
	struct retry *retry = retry_of(block);
	struct block *inner = retry->inner;

	retry_give_up(block);
	retry_drain(block);
	pthread_mutex_lock(&retry->lock);
	retry->stopping = true;
	pthread_cond_broadcast(&retry->changed);
	pthread_mutex_unlock(&retry->lock);
	pthread_join(retry->thread, NULL);
	retry_free(retry);
	inner->close(inner);
}

enum status block_retry_add(struct block **block, const struct block_retry_owner *owner, struct reason *why)
{
	struct retry *retry = calloc(1, sizeof(*retry));
	struct block *inner = *block;
	pthread_condattr_t monotonic;

	if (!retry)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", inner->path);
	retry->block = (struct block){.submit = retry_submit,
				      .drain = retry_drain,
				      .close = retry_close,
				      .extend = retry_extend,
				      .give_up = retry_give_up,
				      .inner = inner,
				      .size = inner->size,
				      .block_size = inner->block_size,
				      .discard_granularity = inner->discard_granularity,
				      .discard_undefined = inner->discard_undefined,
				      .readonly = inner->readonly,
				      .path = inner->path};
	retry->inner = inner;
	retry->owner = *owner;
	pthread_mutex_init(&retry->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&retry->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (block_thread_start(&retry->thread, retry_main, retry)) {
		retry_free(retry);
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: no thread could be started for onerror=pause; check ulimit -u",
				   inner->path);
	}
	*block = &retry->block;
	return STATUS_OK;
}
