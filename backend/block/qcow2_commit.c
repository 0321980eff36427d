/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_commit.c - writes changed metadata back, in the one order that a crash at any instant leaves whole.
 *
 *   1. refcount blocks; stable; then the table that names them
 *   2. stable: counts, and all data written before
 *   3. L2 tables; stable if L1 changes; then L1
 *   4. stable
 *   5. only now clusters that nothing refers to any more lose their count, go back to the host and may be allocated again
 *
 * So a table on disk refers only to clusters that are counted and whose data is there; what a crash cuts off are counts that are too high. The new counts
 * of step 5 wait for the next commit. What is written is a copy, taken in one instant under `mutate`: requests go on changing metadata
 * meanwhile, and that waits for the next commit too. A failed write leaves all of it dirty.
 */
#include <stdlib.h>

#include "qcow2_image.h"

struct copy {
	uint64_t offset;
	uint8_t *bytes;
};

struct commit {
	struct copy *l2, *refcounts;
	unsigned l2_count, refcount_count;
	struct qcow2_span l1_span, table_span;
	uint64_t l1_offset, table_offset; /* then: a larger one is written whole where it is made */
	uint8_t *l1, *table;
	struct qcow2_frees frees;
};

static enum status copies_take(struct qcow2_cache *cache, struct copy **out, unsigned *count)
{
	struct qcow2_slice *slice;
	struct copy *copy;

	*count = 0;
	*out = NULL;
	if (!cache->dirty)
		return STATUS_OK;
	copy = *out = calloc(cache->dirty, sizeof(*copy));
	if (!copy)
		return STATUS_NO_MEMORY;
	for (slice = cache->newest; slice; slice = slice->older) {
		if (!slice->dirty)
			continue;
		copy->offset = slice->offset;
		copy->bytes = malloc(cache->slice_bytes);
		if (!copy->bytes)
			return STATUS_NO_MEMORY;
		memcpy(copy->bytes, slice->bytes, cache->slice_bytes);
		copy++;
		++*count;
	}
	return STATUS_OK;
}

static int copy_compare(const void *one, const void *other)
{
	const struct copy *a = one, *b = other;

	return (a->offset > b->offset) - (a->offset < b->offset);
}

static void copies_sort(struct copy *copy, unsigned count)
{
	if (count)
		qsort(copy, count, sizeof(*copy), copy_compare);
}

static void copies_drop(struct copy *copy, unsigned count)
{
	for (unsigned i = 0; copy && i < count; i++)
		free(copy[i].bytes);
	free(copy);
}

static enum status span_take(const uint64_t *entry, struct qcow2_span span, uint8_t **out)
{
	*out = NULL;
	if (span.from == span.to)
		return STATUS_OK;
	*out = malloc((span.to - span.from) * 8);
	for (uint64_t i = span.from; *out && i < span.to; i++)
		qcow2_put64(*out + (i - span.from) * 8, entry[i]);
	return *out ? STATUS_OK : STATUS_NO_MEMORY;
}

static void slices_taken(struct qcow2_cache *cache)
{
	for (struct qcow2_slice *slice = cache->newest; slice; slice = slice->older) {
		slice->writing = slice->dirty;
		slice->dirty = false;
	}
	cache->dirty = 0;
}

/* The slices have been written, or have not and are dirty again. */
static void slices_settle(struct qcow2_cache *cache, bool written)
{
	for (struct qcow2_slice *slice = cache->newest; slice; slice = slice->older) {
		if (slice->writing && !written && !slice->dirty) {
			slice->dirty = true;
			cache->dirty++;
		}
		slice->writing = false;
	}
}

static void commit_drop(struct commit *commit)
{
	copies_drop(commit->l2, commit->l2_count);
	copies_drop(commit->refcounts, commit->refcount_count);
	free(commit->l1);
	free(commit->table);
	free(commit->frees.run);
}

/* Under mutate. On failure nothing has changed. */
static enum status commit_take(struct qcow2 *q, struct commit *commit)
{
	enum status status = copies_take(&q->refcounts, &commit->refcounts, &commit->refcount_count);

	pthread_mutex_lock(&q->lock); /* requests move slices in the order of their use */
	if (!status)
		status = copies_take(&q->l2, &commit->l2, &commit->l2_count);
	commit->l1_span = q->l1_dirty;
	commit->table_span = q->table_dirty;
	commit->l1_offset = q->l1_offset;
	commit->table_offset = q->table_offset;
	if (!status)
		status = span_take(q->l1, commit->l1_span, &commit->l1);
	if (!status)
		status = span_take(q->table, commit->table_span, &commit->table);
	if (!status) {
		slices_taken(&q->l2);
		slices_taken(&q->refcounts);
		q->l1_dirty = q->table_dirty = (struct qcow2_span){0, 0};
		commit->frees = q->frees;
		q->frees = (struct qcow2_frees){NULL, 0, 0};
		atomic_store(&q->committing, true);
		atomic_store(&q->dirty, false);
	}
	pthread_mutex_unlock(&q->lock);
	if (status) {
		commit_drop(commit);
		return status;
	}
	copies_sort(commit->l2, commit->l2_count);
	copies_sort(commit->refcounts, commit->refcount_count);
	return STATUS_OK;
}

static enum status copies_write(struct qcow2 *q, const struct copy *copy, unsigned count, unsigned bytes)
{
	enum status status = STATUS_OK;

	for (unsigned i = 0; !status && i < count; i++)
		status = image_file_write(&q->file, copy[i].offset, copy[i].bytes, bytes);
	return status;
}

static enum status span_write(struct qcow2 *q, uint64_t table, struct qcow2_span span, const uint8_t *bytes)
{
	return image_file_write(&q->file, table + span.from * 8, bytes, (span.to - span.from) * 8);
}

static enum status counts_write(struct qcow2 *q, const struct commit *commit)
{
	enum status status = copies_write(q, commit->refcounts, commit->refcount_count, q->refcounts.slice_bytes);

	if (!status && commit->table)
		status = image_file_sync(&q->file);
	if (!status && commit->table)
		status = span_write(q, commit->table_offset, commit->table_span, commit->table);
	return status;
}

static enum status maps_write(struct qcow2 *q, const struct commit *commit)
{
	enum status status = copies_write(q, commit->l2, commit->l2_count, q->l2.slice_bytes);

	if (!status && commit->l1)
		status = image_file_sync(&q->file);
	if (!status && commit->l1)
		status = span_write(q, commit->l1_offset, commit->l1_span, commit->l1);
	return status;
}

static enum status commit_write(struct qcow2 *q, const struct commit *commit, bool stable)
{
	bool maps = commit->l2_count || commit->l1;
	enum status status = counts_write(q, commit);

	if (!status && maps)
		status = image_file_sync(&q->file);
	if (!status && maps)
		status = maps_write(q, commit);
	/* Clusters must not be used anew while a table on disk may still refer to them. */
	if (!status && (stable || commit->frees.count))
		status = image_file_sync(&q->file);
	return status;
}

/* Under mutate, so nothing is allocated before its old bytes are gone. */
static void frees_apply(struct qcow2 *q, const struct qcow2_frees *frees)
{
	struct qcow2_frees holes = {NULL, 0, 0};
	unsigned i;

	for (i = 0; i < frees->count; i++) {
		const struct qcow2_free *run = &frees->run[i];

		for (uint64_t cluster = run->first; cluster < run->first + run->count; cluster++) {
			uint64_t count;

			if (qcow2_refcount_add(q, cluster, 1, -1))
				continue; /* it leaks, and that has been said */
			if (!qcow2_refcount_get(q, cluster, &count) && !count)
				qcow2_frees_add(&holes, cluster, 1);
		}
	}
	for (i = 0; i < holes.count; i++) {
		uint64_t from = holes.run[i].first << q->cluster_bits, bytes = holes.run[i].count << q->cluster_bits;

		qcow2_cache_forget(&q->l2, from, from + bytes, &q->lock);
		qcow2_cache_forget(&q->refcounts, from, from + bytes, NULL);
		image_file_punch(&q->file, from, bytes);
	}
	if (holes.count)
		qcow2_inflated_forget(q);
	free(holes.run);
}

/* Under mutate: what was taken is dirty as before. */
static void commit_undo(struct qcow2 *q, const struct commit *commit)
{
	if (commit->l1)
		qcow2_span_add(&q->l1_dirty, commit->l1_span.from, commit->l1_span.to);
	if (commit->table)
		qcow2_span_add(&q->table_dirty, commit->table_span.from, commit->table_span.to);
	for (unsigned i = 0; i < commit->frees.count; i++)
		qcow2_frees_add(&q->frees, commit->frees.run[i].first, commit->frees.run[i].count);
	atomic_store(&q->dirty, true);
}

static enum status commit_once(struct qcow2 *q, bool stable)
{
	struct commit commit = {0};
	enum status status;

	pthread_mutex_lock(&q->mutate);
	status = commit_take(q, &commit);
	pthread_mutex_unlock(&q->mutate);
	if (status)
		return status;
	status = commit_write(q, &commit, stable);
	pthread_mutex_lock(&q->mutate);
	pthread_mutex_lock(&q->lock);
	slices_settle(&q->l2, !status);
	slices_settle(&q->refcounts, !status);
	pthread_mutex_unlock(&q->lock);
	if (status)
		commit_undo(q, &commit);
	else
		frees_apply(q, &commit.frees);
	atomic_store(&q->committing, false);
	pthread_mutex_unlock(&q->mutate);
	commit_drop(&commit);
	return status;
}

enum status qcow2_commit(struct qcow2 *q, bool stable)
{
	enum status status = STATUS_OK;

	if (q->readonly)
		return STATUS_OK;
	pthread_mutex_lock(&q->commit_lock);
	if (atomic_load(&q->dirty))
		status = commit_once(q, stable);
	else if (stable)
		status = image_file_sync(&q->file);
	pthread_mutex_unlock(&q->commit_lock);
	return status;
}

enum status qcow2_commit_if_much(struct qcow2 *q)
{
	bool much;

	pthread_mutex_lock(&q->mutate);
	much = q->l2.dirty > q->l2.limit / 2 || q->refcounts.dirty > q->refcounts.limit / 2 || q->frees.count > QCOW2_FREES_MAX;
	pthread_mutex_unlock(&q->mutate);
	return much ? qcow2_commit(q, false) : STATUS_OK;
}
