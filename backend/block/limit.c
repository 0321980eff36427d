/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.c - a filter that holds requests back, so that a disk makes no more than so many requests and bytes a second.
 *
 * Two buckets fill at their rates up to their bursts. A request may go when neither is empty, and takes what it costs, also below zero: so one
 * that is larger than the burst goes too, and those behind it wait longer. Who submits sends what may go at once; the rest waits, in order, for the
 * filter's thread. While somebody drains, all goes at once and lets the buckets go below zero for it: the rate holds over time.
 */
#include "limit.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <holon/host.h>

#include "block_thread.h"

#define NS_PER_S 1e9

struct bucket {
	double rate; /* a second; 0: no limit */
	double burst;
	double level;
};

struct limit {
	struct block block;
	struct block *inner;
	pthread_t thread;
	pthread_mutex_t lock; /* what follows; a leaf */
	pthread_cond_t changed;
	struct bucket requests, bytes;
	uint64_t filled_ns;
	struct block_request *waiting;
	struct block_request **waiting_end;
	unsigned drains;  /* who drains now */
	unsigned in_hand; /* lists that were released and are being submitted */
	bool stopping;
};

static struct limit *limit_of(struct block *block)
{
	return (struct limit *)(void *)((uint8_t *)block - offsetof(struct limit, block));
}

static void bucket_init(struct bucket *bucket, const struct disk_rate *rate)
{
	bucket->rate = (double)rate->second;
	bucket->burst = rate->burst ? (double)rate->burst : bucket->rate / 10;
	if (bucket->burst < 1)
		bucket->burst = 1;
	bucket->level = bucket->burst;
}

static void bucket_fill(struct bucket *bucket, double seconds)
{
	bucket->level += seconds * bucket->rate;
	if (bucket->level > bucket->burst)
		bucket->level = bucket->burst;
}

/* Seconds until something may go. */
static double bucket_wait(const struct bucket *bucket)
{
	return bucket->rate > 0 && bucket->level <= 0 ? (1 - bucket->level) / bucket->rate : 0;
}

static uint64_t request_bytes(const struct block_request *request)
{
	switch (request->operation) {
	case BLOCK_READ:
	case BLOCK_WRITE: return request->length;
	case BLOCK_WRITE_ZEROES: return request->may_unmap ? 0 : request->length; /* else the host may have to write them */
	default: return 0;
	}
}

static void limit_fill_locked(struct limit *limit)
{
	uint64_t now = host_time_ns();
	double seconds = (double)(now - limit->filled_ns) / NS_PER_S;

	limit->filled_ns = now;
	bucket_fill(&limit->requests, seconds);
	bucket_fill(&limit->bytes, seconds);
}

/* The requests that may go now, off the front of those that wait. Then the list is in hand until limit_send has sent it. */
static struct block_request *limit_release_locked(struct limit *limit)
{
	struct block_request *list = limit->waiting, **end = &limit->waiting;

	limit_fill_locked(limit);
	while (*end && (limit->drains || (bucket_wait(&limit->requests) <= 0 && bucket_wait(&limit->bytes) <= 0))) {
		if (limit->requests.rate > 0)
			limit->requests.level -= 1;
		if (limit->bytes.rate > 0)
			limit->bytes.level -= (double)request_bytes(*end);
		end = &(*end)->next;
	}
	if (end == &limit->waiting)
		return NULL;
	limit->waiting = *end;
	*end = NULL;
	if (!limit->waiting)
		limit->waiting_end = &limit->waiting;
	limit->in_hand++;
	return list;
}

static void limit_send(struct limit *limit, struct block_request *list)
{
	if (!list)
		return;
	limit->inner->submit(limit->inner, list);
	pthread_mutex_lock(&limit->lock);
	limit->in_hand--;
	if (limit->drains)
		pthread_cond_broadcast(&limit->changed);
	pthread_mutex_unlock(&limit->lock);
}

static void limit_submit(struct block *block, struct block_request *list)
{
	struct limit *limit = limit_of(block);

	pthread_mutex_lock(&limit->lock);
	*limit->waiting_end = list;
	while (*limit->waiting_end)
		limit->waiting_end = &(*limit->waiting_end)->next;
	list = limit_release_locked(limit);
	if (limit->waiting)
		pthread_cond_broadcast(&limit->changed);
	pthread_mutex_unlock(&limit->lock);
	limit_send(limit, list);
}

static void limit_sleep_locked(struct limit *limit)
{
	double seconds = bucket_wait(&limit->requests), other = bucket_wait(&limit->bytes);
	struct timespec until;
	uint64_t ns;

	clock_gettime(CLOCK_MONOTONIC, &until);
	ns = (uint64_t)until.tv_nsec + (uint64_t)((seconds > other ? seconds : other) * NS_PER_S) + 1000;
	until.tv_sec += (time_t)(ns / 1000000000);
	until.tv_nsec = (long)(ns % 1000000000);
	pthread_cond_timedwait(&limit->changed, &limit->lock, &until);
}

static void *limit_main(void *argument)
{
	struct limit *limit = argument;

	pthread_mutex_lock(&limit->lock);
	while (!limit->stopping) {
		struct block_request *list = limit_release_locked(limit);

		if (list) {
			pthread_mutex_unlock(&limit->lock);
			limit_send(limit, list);
			pthread_mutex_lock(&limit->lock);
		} else if (limit->waiting) {
			limit_sleep_locked(limit);
		} else {
			pthread_cond_wait(&limit->changed, &limit->lock);
		}
	}
	pthread_mutex_unlock(&limit->lock);
	return NULL;
}

/* What completes meanwhile may submit more: that passes straight through, and the backend's own drain waits for it. */
static void limit_drain(struct block *block)
{
	struct limit *limit = limit_of(block);
	struct block_request *list;

	pthread_mutex_lock(&limit->lock);
	limit->drains++;
	list = limit_release_locked(limit);
	pthread_mutex_unlock(&limit->lock);
	limit_send(limit, list);
	pthread_mutex_lock(&limit->lock);
	while (limit->in_hand)
		pthread_cond_wait(&limit->changed, &limit->lock);
	pthread_mutex_unlock(&limit->lock);
	limit->inner->drain(limit->inner);
	pthread_mutex_lock(&limit->lock);
	limit->drains--;
	pthread_mutex_unlock(&limit->lock);
}

static void limit_give_up(struct block *block)
{
	struct block *inner = limit_of(block)->inner;

	if (inner->give_up)
		inner->give_up(inner);
}

static enum status limit_extend(struct block *block, uint64_t size, struct reason *why)
{
	return block_resize(limit_of(block)->inner, size, why);
}

static void limit_free(struct limit *limit)
{
	pthread_cond_destroy(&limit->changed);
	pthread_mutex_destroy(&limit->lock);
	free(limit);
}

static void limit_close(struct block *block)
{
	struct limit *limit = limit_of(block);
	struct block *inner = limit->inner;

	limit_drain(block);
	pthread_mutex_lock(&limit->lock);
	limit->stopping = true;
	pthread_cond_broadcast(&limit->changed);
	pthread_mutex_unlock(&limit->lock);
	pthread_join(limit->thread, NULL);
	limit_free(limit);
	inner->close(inner);
}

enum status block_limit_add(struct block **block, const struct disk_rate *requests, const struct disk_rate *bytes,
			    struct reason *why)
{
	struct limit *limit = calloc(1, sizeof(*limit));
	struct block *inner = *block;
	pthread_condattr_t monotonic;

	if (!limit)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", inner->path);
	limit->block = (struct block){.submit = limit_submit,
				      .drain = limit_drain,
				      .close = limit_close,
				      .extend = limit_extend,
				      .give_up = limit_give_up,
				      .inner = inner,
				      .size = inner->size,
				      .block_size = inner->block_size,
				      .discard_granularity = inner->discard_granularity,
				      .discard_undefined = inner->discard_undefined,
				      .readonly = inner->readonly,
				      .path = inner->path};
	limit->inner = inner;
	limit->waiting_end = &limit->waiting;
	limit->filled_ns = host_time_ns();
	bucket_init(&limit->requests, requests);
	bucket_init(&limit->bytes, bytes);
	pthread_mutex_init(&limit->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&limit->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (block_thread_start(&limit->thread, limit_main, limit)) {
		limit_free(limit);
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: no thread could be started for its limits; check ulimit -u",
				   inner->path);
	}
	*block = &limit->block;
	return STATUS_OK;
}
