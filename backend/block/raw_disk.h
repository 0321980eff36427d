/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_disk.h - what the files of the raw backend share: the open disk, and a request as a series of system calls.
 *
 * raw.c opens; raw_submit.c says which way a request goes; raw_step.c says which system call a request needs next and what its result means; raw_uring.c and raw_threads.c
 * are the two ways to make those calls; raw_direct.c is what cache=none adds; raw_behind.c has the host write out what a guest has written.
 */
#ifndef HOLON_BLOCK_RAW_DISK_H
#define HOLON_BLOCK_RAW_DISK_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include <holon/block.h>

struct raw_disk;
struct raw_pool;

/* One way to make system calls without blocking the caller. */
struct raw_io {
	const char *name;
	enum status (*start)(struct raw_disk *disk);
	void (*submit)(struct raw_disk *disk, struct block_request *list); /* any thread */
	void (*stop)(struct raw_disk *disk);                               /* nothing is under way */
};
extern const struct raw_io raw_uring; /* STATUS_UNSUPPORTED where the host forbids it */
extern const struct raw_io raw_threads;

#define RAW_STREAMS 4

/* Writes one after the other: what they have written from `begin` on nobody has begun to write out. */
struct raw_stream {
	uint64_t begin, end;
};

struct raw_behind {
	struct raw_stream stream[RAW_STREAMS];
	unsigned oldest;
	bool under_way; /* the request is */
	struct block_request request;
};

struct raw_disk {
	struct block block;
	int fd;
	bool lent; /* the descriptor is another's; what is behind the file's end reads as zeroes */
	char *path;
	const struct raw_io *io;
	void *io_data;
	atomic_bool no_punch;        /* the file system has no FALLOC_FL_PUNCH_HOLE */
	atomic_bool no_zero_range;   /* nor FALLOC_FL_ZERO_RANGE */
	bool in_memory;              /* nothing of it is anywhere else: no call waits */
	atomic_bool no_nowait_read;  /* the file system has no RWF_NOWAIT for it */
	atomic_bool no_nowait_write; /* likewise; then `writer` does the writes, if there is one */
	struct raw_pool *writer;     /* with `direct`: what cannot go as it is */
	bool direct;                 /* past the page cache; from here to `held` raw_direct.c's */
	uint32_t direct_offset;      /* what places in the file and lengths must be multiples of */
	uint32_t direct_memory;      /* and addresses */
	pthread_mutex_t lock;        /* what follows; a leaf */
	pthread_cond_t idle;
	unsigned under_way;
	struct raw_behind behind;
	unsigned writers; /* the gate: requests that write whole host blocks */
	bool alone;       /* or one that does not */
	struct block_request *held, **held_end;
};

enum raw_call { RAW_READV, RAW_WRITEV, RAW_FDATASYNC, RAW_FALLOCATE, RAW_WRITE_OUT };

/* The next system call of a request. */
struct raw_step {
	enum raw_call call;
	int mode; /* of fallocate */
	uint64_t offset;
	uint64_t length; /* of fallocate, and of writing out */
	const struct iovec *vector;
	unsigned vectors;
};

/* A fresh request. Before the first raw_step_next. */
void raw_step_begin(struct block_request *request);
void raw_step_next(struct raw_disk *disk, struct block_request *request, struct raw_step *step);
/* `result` is the call's value, or -errno. true: the request is complete, *status says how. false: ask for the next step. */
bool raw_step_result(struct raw_disk *disk, struct block_request *request, int result, enum status *status);

/* raw_threads.c: threads that make one request's system calls after the other's; some thread or an error. */
enum status raw_pool_start(struct raw_pool **started, struct raw_disk *disk, unsigned threads) must_check;
void raw_pool_submit(struct raw_pool *pool, struct block_request *list);
void raw_pool_stop(struct raw_pool *pool); /* nothing is under way */

/* raw_submit.c: requests that have begun, any thread. open: once the file is. */
void raw_submit(struct raw_disk *disk, struct block_request *list);
void raw_submit_open(struct raw_disk *disk);

/* raw_direct.c. open: the file and its size are known; fails where the file system refuses. submit, done: any thread, every request; done before it is given back. */
enum status raw_direct_open(struct raw_disk *disk, struct reason *why) must_check;
void raw_direct_submit(struct raw_disk *disk, struct block_request *list);
void raw_direct_done(struct raw_disk *disk, const struct block_request *request);
/* Of a transfer: can the host do it without a buffer? If not: does a part of it through one; the bytes, or -errno. */
bool raw_direct_fits(const struct raw_disk *disk, const struct raw_step *step);
int raw_direct_transfer(struct raw_disk *disk, const struct raw_step *step);

/* raw_behind.c: a write is complete. With disk->lock held; a request that is to be submitted then, without it, or NULL. */
struct block_request *raw_behind_written(struct raw_disk *disk, uint64_t offset, uint64_t length);

/* Hands the request back to the device. No lock held. */
void raw_request_done(struct raw_disk *disk, struct block_request *request, enum status status);

#endif
