/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_image.h - one open qcow2 file, as the files of its backend share it. The essay is in qcow2.c; the format's names in qcow2_format.h.
 *
 * Locks, outer first:
 *   commit_lock  one writer-back of metadata at a time (qcow2_commit.c)
 *   mutate       who changes metadata, and who reads metadata from the file; held over such reads and writes, never over the guest's data
 *   lock         short, never held over I/O: what the quick way of a request reads (L1, the L2 cache's contents), and the ranges
 */
#ifndef HOLON_BLOCK_QCOW2_IMAGE_H
#define HOLON_BLOCK_QCOW2_IMAGE_H

#include <pthread.h>
#include <stdatomic.h>

#include "image_file.h"
#include "qcow2_format.h"

struct image;

/* Tables are cached in slices of this many bytes, or a cluster where that is less. */
#define QCOW2_SLICE 4096u
#define QCOW2_L2_CACHE (8u << 20)
#define QCOW2_REFCOUNT_CACHE (1u << 20)
#define QCOW2_FREES_MAX 16384 /* runs that wait; more and the metadata is written back */

struct qcow2_slice {
	uint64_t offset; /* in the file */
	uint8_t *bytes;
	bool dirty;
	bool writing;                       /* a commit writes a copy of it: it must not be dropped and read again meanwhile */
	struct qcow2_slice *next_in_bucket; /* of the hash by offset */
	struct qcow2_slice *newer, *older;  /* by last use */
};

struct qcow2_cache {
	unsigned slice_bytes;
	unsigned limit, count, dirty; /* slices; the limit gives way when nothing is clean */
	unsigned buckets;             /* a power of two */
	struct qcow2_slice **bucket;
	struct qcow2_slice *newest, *oldest;
};

/* Clusters whose reference goes once no stable table refers to them any more. */
struct qcow2_free {
	uint64_t first, count;
};
struct qcow2_frees {
	struct qcow2_free *run;
	unsigned count, room;
};

struct qcow2_span { /* of table entries that are not on disk yet; empty: from == to */
	uint64_t from, to;
};

/* A range of the guest's disk that a request works on; whole clusters. */
struct qcow2_range {
	uint64_t from, to;
	uint64_t ticket;
	bool alone; /* changes what is where; else shares the range with others that do not */
	struct qcow2_range *next, **link;
};

struct qcow2_inflated { /* a decompressed cluster */
	uint64_t host;  /* 0: none */
	uint8_t *bytes;
};
#define QCOW2_INFLATED 4

struct qcow2 {
	struct image_file file;
	struct image *backing; /* NULL: none, what is not allocated is zero */
	char *backing_path;    /* as the header says, NULL: none */
	char *backing_format;  /* likewise; NULL: it does not say */
	uint64_t size;         /* bytes that the guest sees, whole sectors */
	bool readonly;
	atomic_bool corrupt; /* found so: nothing is written any more */

	unsigned version;
	unsigned cluster_bits;
	uint64_t cluster_size;
	unsigned entry_bytes; /* of an L2 entry: 8, or 16 if extended */
	unsigned l2_bits;     /* log2 of an L2 table's entries */
	unsigned units;       /* pieces of a cluster that are allocated by themselves: 1, or 32 if extended */
	uint64_t unit_size;
	unsigned refcount_order, block_bits; /* log2: of a refcount's bits; of the refcounts in a block */
	uint64_t refcount_max;
	unsigned compression;
	uint64_t incompatible, compatible, autoclear;
	uint64_t header_length;
	uint32_t snapshots;
	uint64_t snapshots_offset;
	uint64_t snapshots_bytes;               /* of the table; found when it is read */
	uint64_t bitmaps_offset, bitmaps_bytes; /* QEMU's dirty bitmaps, for the check; 0: none */
	uint32_t bitmaps;

	pthread_mutex_t commit_lock;
	pthread_mutex_t mutate;
	pthread_mutex_t lock;

	uint64_t *l1; /* entries as numbers */
	uint32_t l1_size;
	uint64_t l1_offset;
	struct qcow2_span l1_dirty;
	uint64_t *table; /* of refcount blocks, as numbers */
	uint64_t table_size;
	uint64_t table_offset;
	uint32_t table_clusters;
	struct qcow2_span table_dirty;
	struct qcow2_cache l2, refcounts;
	atomic_bool dirty;      /* some metadata is not on disk */
	atomic_bool committing; /* and some of what is not called dirty any more may not be either */

	uint64_t free_from;                /* no cluster before it is free */
	uint64_t fresh_from;               /* clusters from here on have never been written: they read as zeroes */
	uint64_t vouched_from, vouched_to; /* in these clusters no table lies where the refcount says free (qcow2_allocate.c) */
	struct qcow2_frees frees;
	uint64_t packed_at; /* where the next compressed cluster goes; 0: into a cluster of its own */

	pthread_cond_t ranges_changed;
	struct qcow2_range *shared, *alone;
	uint64_t ticket;

	pthread_mutex_t inflated_lock; /* a leaf: what follows */
	struct qcow2_inflated inflated[QCOW2_INFLATED];
	unsigned inflated_next, inflated_generation;
};

static inline uint64_t qcow2_clusters(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes >> q->cluster_bits) + ((bytes & (q->cluster_size - 1)) != 0);
}
static inline bool qcow2_aligned(const struct qcow2 *q, uint64_t offset)
{
	return (offset & (q->cluster_size - 1)) == 0;
}

/* As much as all L2 tables that there can be take, within bounds. */
static inline uint64_t qcow2_l2_cache_bytes(const struct qcow2 *q)
{
	uint64_t all = (uint64_t)q->l1_size << q->cluster_bits;

	return all < QCOW2_L2_CACHE ? all : QCOW2_L2_CACHE;
}

/* qcow2_header.c */
/* damaged: also with an unusable refcount table, as if there were none. */
enum status qcow2_header_read(struct qcow2 *q, bool damaged, struct reason *why) must_check;
/* Writes the whole header anew; a single write, which is stable when it returns. Under mutate, or before anybody else has the image. */
enum status qcow2_header_write(struct qcow2 *q) must_check;
/* Only the first sector's numbers, all of them in one write. */
enum status qcow2_header_update(struct qcow2 *q) must_check;

/* qcow2_cache.c: all under mutate; contents of L2 slices change under `lock` too. */
enum status qcow2_cache_start(struct qcow2_cache *cache, unsigned slice_bytes, uint64_t limit_bytes) must_check;
/* Another limit from now on. */
void qcow2_cache_limit(struct qcow2_cache *cache, uint64_t limit_bytes);
void qcow2_cache_stop(struct qcow2_cache *cache);
/* The slice if it is there, as the newest. Under `lock` is enough for the L2 cache. */
struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *cache, uint64_t offset);
/* Reads it if need be, or makes it zero. Valid until the next call for the same cache. `lock`: the lock that readers of this cache take, or NULL. */
enum status qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset, bool zero, pthread_mutex_t *lock,
			    struct qcow2_slice **out) must_check;
void qcow2_slice_dirty(struct qcow2 *q, struct qcow2_cache *cache, struct qcow2_slice *slice);
/* Forgets what lies in these clusters: they are no tables any more. */
void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t from, uint64_t to, pthread_mutex_t *lock);

/* qcow2_refcount.c: all under mutate. */
uint64_t qcow2_refcount_of(const void *block, unsigned order, uint64_t index);
void qcow2_refcount_set(void *block, unsigned order, uint64_t index, uint64_t value);
enum status qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count) must_check;
/* +1 or -1 on each; those that reach 0 may be allocated at once. STATUS_NO_SPACE: one is at its maximum, nothing is changed. */
enum status qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, uint64_t count, int change) must_check;

/* qcow2_allocate.c: all under mutate. */
struct qcow2_run {
	uint64_t offset, count; /* bytes; clusters */
	bool fresh;             /* never written: it reads as zeroes */
};
/* Up to `wanted` clusters that lie together, all of them if `whole`; each has one reference now. */
enum status qcow2_allocate(struct qcow2 *q, uint64_t wanted, bool whole, struct qcow2_run *run) must_check;
/* Also for what has refcounts and never was referred to. */
void qcow2_free_now(struct qcow2 *q, uint64_t offset, uint64_t count);
/* Gives them up once what refers to them is off the disk (qcow2_commit.c). */
void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes);
void qcow2_span_add(struct qcow2_span *span, uint64_t from, uint64_t to);
void qcow2_frees_add(struct qcow2_frees *frees, uint64_t first, uint64_t count);

/* qcow2_map.c */
enum qcow2_kind { QCOW2_ABSENT, QCOW2_ZERO, QCOW2_DATA, QCOW2_PACKED, QCOW2_UNKNOWN, QCOW2_BAD };

struct qcow2_extent {
	enum qcow2_kind kind; /* ABSENT: the backing file's, or zero. PACKED: compressed. UNKNOWN: the table is not in the cache */
	bool copied;          /* DATA: nobody else refers to it, it may be written in place */
	uint64_t length;
	uint64_t host; /* DATA: where the first byte is; PACKED: where the compressed cluster begins */
	uint64_t packed_bytes;
};

struct qcow2_entry {
	uint64_t word, bits; /* bits: allocated, << 32 zero; 0 where entries are not extended */
};

/* What is at `offset`, for at most `length` bytes. Without I/O, under `lock`. */
void qcow2_extent_peek(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_extent *extent);
/* The same with I/O, under nothing. */
enum status qcow2_extent_find(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_extent *extent) must_check;
/* Under mutate. The slice with the entry of guest offset `offset`; with `make` a table of our own is made for it, else *slice may be NULL. *at: byte in slice. */
enum status qcow2_l2_get(struct qcow2 *q, uint64_t offset, bool make, struct qcow2_slice **slice, unsigned *at) must_check;
struct qcow2_entry qcow2_entry_read(const struct qcow2 *q, const uint8_t *at);
/* Under mutate, of a slice that qcow2_l2_get made. */
void qcow2_entry_write(struct qcow2 *q, struct qcow2_slice *slice, unsigned at, struct qcow2_entry entry);
void qcow2_packed_place(const struct qcow2 *q, uint64_t word, uint64_t *host, uint64_t *bytes);
uint64_t qcow2_packed_word(const struct qcow2 *q, uint64_t host, uint64_t bytes);
/* Gives up what an entry refers to. Under mutate. */
void qcow2_entry_free(struct qcow2 *q, struct qcow2_entry entry);

/* qcow2_commit.c */
/* Writes all metadata back in order. `stable`: returns when it, and all data before it, is on stable storage. Under nothing. */
enum status qcow2_commit(struct qcow2 *q, bool stable) must_check;
/* Before metadata is changed: writes back if much has gathered. Under nothing. */
enum status qcow2_commit_if_much(struct qcow2 *q) must_check;

/* qcow2_resize.c. Under mutate, everything written back: L1 becomes these entries, at a new place; it lets go of mutate meanwhile. */
enum status qcow2_l1_move(struct qcow2 *q, const uint64_t *entries, uint32_t size) must_check;

/* qcow2_inflate.c */
enum status qcow2_inflate(struct qcow2 *q, const struct qcow2_extent *extent, uint64_t within, uint64_t length,
			  struct image_cursor *to) must_check;
void qcow2_inflated_forget(struct qcow2 *q);
/* One cluster. *packed is `bytes` long at most; STATUS_RANGE: it does not become shorter. */
enum status qcow2_deflate(struct qcow2 *q, const uint8_t *cluster, uint8_t *packed, size_t *bytes) must_check;

/* qcow2_range.c: whole clusters that a request is in, rounded from bytes. In the order of arrival. */
void qcow2_range_enter(struct qcow2 *q, struct qcow2_range *range, uint64_t offset, uint64_t length, bool alone);
/* Shared, without waiting. Under `lock`. */
bool qcow2_range_try(struct qcow2 *q, struct qcow2_range *range, uint64_t offset, uint64_t length);
void qcow2_range_leave(struct qcow2 *q, struct qcow2_range *range);

/* Marks the image corrupt: what is written from now on is refused. Says so once. */
enum status qcow2_corrupt(struct qcow2 *q, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
