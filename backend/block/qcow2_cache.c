/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_cache.c - slices of L2 tables and refcount blocks in memory, found by where they are in the file; the one unused for longest goes first.
 *
 * Memory is bounded by the cache's limit. Only clean slices are dropped: qcow2_commit_if_much keeps half of them so, and in the worst
 * case the few that the requests under way change come on top.
 */
#include <stdlib.h>

#include "qcow2_image.h"

#define SLICES_MIN 16

void qcow2_cache_limit(struct qcow2_cache *cache, uint64_t limit_bytes)
{
	uint64_t limit = limit_bytes / cache->slice_bytes;

	cache->limit = limit < SLICES_MIN ? SLICES_MIN : (unsigned)limit;
}

enum status qcow2_cache_start(struct qcow2_cache *cache, unsigned slice_bytes, uint64_t limit_bytes)
{
	*cache = (struct qcow2_cache){.slice_bytes = slice_bytes, .buckets = 16};
	qcow2_cache_limit(cache, limit_bytes);
	while (cache->buckets < cache->limit)
		cache->buckets *= 2;
	cache->bucket = calloc(cache->buckets, sizeof(struct qcow2_slice *));
	return cache->bucket ? STATUS_OK : STATUS_NO_MEMORY;
}

static struct qcow2_slice **bucket_of(struct qcow2_cache *cache, uint64_t offset)
{
	uint64_t hash = offset / cache->slice_bytes * UINT64_C(0x9e3779b97f4a7c15);

	return &cache->bucket[(hash >> 32) & (cache->buckets - 1)];
}

static void age_unlink(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
	*(slice->newer ? &slice->newer->older : &cache->newest) = slice->older;
	*(slice->older ? &slice->older->newer : &cache->oldest) = slice->newer;
}

static void age_newest(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
	slice->newer = NULL;
	slice->older = cache->newest;
	*(cache->newest ? &cache->newest->newer : &cache->oldest) = slice;
	cache->newest = slice;
}

struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *cache, uint64_t offset)
{
	struct qcow2_slice *slice = *bucket_of(cache, offset);

	while (slice && slice->offset != offset)
		slice = slice->next_in_bucket;
	if (slice && slice != cache->newest) {
		age_unlink(cache, slice);
		age_newest(cache, slice);
	}
	return slice;
}

static void slice_remove(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
	struct qcow2_slice **link = bucket_of(cache, slice->offset);

	while (*link != slice)
		link = &(*link)->next_in_bucket;
	*link = slice->next_in_bucket;
	age_unlink(cache, slice);
	cache->count--;
	cache->dirty -= slice->dirty;
}

static void slice_free(struct qcow2_slice *slice)
{
	if (slice)
		free(slice->bytes);
	free(slice);
}

void qcow2_cache_stop(struct qcow2_cache *cache)
{
	while (cache->newest) {
		struct qcow2_slice *slice = cache->newest;

		slice_remove(cache, slice);
		slice_free(slice);
	}
	free(cache->bucket);
	cache->bucket = NULL;
}

/* An unused slice: the oldest clean one if the cache is full, else a new one. */
static struct qcow2_slice *slice_obtain(struct qcow2_cache *cache, pthread_mutex_t *lock)
{
	struct qcow2_slice *slice = NULL;

	if (cache->count >= cache->limit) {
		if (lock)
			pthread_mutex_lock(lock);
		slice = cache->oldest;
		while (slice && (slice->dirty || slice->writing))
			slice = slice->newer;
		if (slice)
			slice_remove(cache, slice);
		if (lock)
			pthread_mutex_unlock(lock);
	}
	if (slice)
		return slice;
	slice = calloc(1, sizeof(*slice));
	if (slice && !(slice->bytes = malloc(cache->slice_bytes))) {
		free(slice);
		return NULL;
	}
	return slice;
}

static void slice_insert(struct qcow2_cache *cache, struct qcow2_slice *slice, uint64_t offset, pthread_mutex_t *lock)
{
	struct qcow2_slice **bucket = bucket_of(cache, offset);

	slice->offset = offset;
	slice->dirty = slice->writing = false;
	if (lock)
		pthread_mutex_lock(lock);
	slice->next_in_bucket = *bucket;
	*bucket = slice;
	age_newest(cache, slice);
	cache->count++;
	if (lock)
		pthread_mutex_unlock(lock);
}

static struct qcow2_slice *cache_find_locked(struct qcow2_cache *cache, uint64_t offset, pthread_mutex_t *lock)
{
	struct qcow2_slice *slice;

	if (!lock)
		return qcow2_cache_find(cache, offset);
	pthread_mutex_lock(lock);
	slice = qcow2_cache_find(cache, offset);
	pthread_mutex_unlock(lock);
	return slice;
}

enum status qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset, bool zero, pthread_mutex_t *lock,
			    struct qcow2_slice **out)
{
	struct qcow2_slice *slice = cache_find_locked(cache, offset, lock);
	enum status status = STATUS_OK;

	*out = slice;
	if (slice)
		return STATUS_OK;
	slice = slice_obtain(cache, lock);
	if (!slice)
		return STATUS_NO_MEMORY;
	if (zero)
		memset(slice->bytes, 0, cache->slice_bytes);
	else
		status = image_file_read(&q->file, offset, slice->bytes, cache->slice_bytes);
	if (status) {
		slice_free(slice);
		return status;
	}
	slice_insert(cache, slice, offset, lock);
	*out = slice;
	return STATUS_OK;
}

void qcow2_slice_dirty(struct qcow2 *q, struct qcow2_cache *cache, struct qcow2_slice *slice)
{
	cache->dirty += !slice->dirty;
	slice->dirty = true;
	atomic_store(&q->dirty, true);
}

void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t from, uint64_t to, pthread_mutex_t *lock)
{
	struct qcow2_slice *slice, *older;

	if (lock)
		pthread_mutex_lock(lock);
	for (slice = cache->newest; slice; slice = older) {
		older = slice->older;
		if (slice->offset < from || slice->offset >= to)
			continue;
		slice_remove(cache, slice);
		slice_free(slice);
	}
	if (lock)
		pthread_mutex_unlock(lock);
}
