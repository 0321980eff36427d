/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - a disk as a device sees it: asynchronous requests on byte ranges.
 *
 * The device owns a request until block_submit and again from `done` on; in between it belongs to the backend. Requests are submitted
 * as a list (linked by `next`, ended by NULL), so that a backend can hand a whole batch to the host at once. `done`
 * is called exactly once for each, on any thread, perhaps before block_submit returns, with no lock of the backend held. Completion order is free. FLUSH completes
 * when every write that completed before it was submitted is on stable storage. Segments point into guest RAM (inside write brackets
 * where it is a read) or into the device's memory.
 */
#ifndef HOLON_BLOCK_H
#define HOLON_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holon/host.h>
#include <holon/status.h>

#define BLOCK_ROUNDS_MAX 32u

enum block_operation { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

struct block_segment { /* laid out as struct iovec */
	void *base;
	size_t length;
};

struct block_request {
	enum block_operation operation;
	bool may_unmap;  /* WRITE_ZEROES: holes are welcome */
	bool elsewhere;  /* not on the submitter's thread, which has served its queue for long enough */
	uint64_t offset; /* bytes, a multiple of the block size */
	uint64_t length; /* bytes, the sum of the segments for READ and WRITE */
	struct block_segment *segment;
	unsigned segments;
	void (*done)(struct block_request *request, enum status status);
	void *device;               /* the submitter's */
	struct block_request *next; /* the next of the batch; the backend's, while it has the request */
	uint64_t backend_word[4];   /* likewise */
	/* Of a filter that looks at results first: it puts itself in the place of `done`, and back. Backends change no other field. */
	void (*filter_done)(struct block_request *request, enum status status);
	void *filter;
	enum status filter_status;
};

struct block {
	/* A list of requests that block_submit has checked. */
	void (*submit)(struct block *block, struct block_request *list);
	/* Waits until no request is under way. */
	void (*drain)(struct block *block);
	void (*close)(struct block *block);
	/*
	 * Makes what is behind the disk that long while it is in use, and leaves `size` as it is: a multiple of block_size, and no less than `size`. From one
	 * thread at a time. NULL: this backend cannot.
	 */
	enum status (*extend)(struct block *block, uint64_t size, struct reason *why);
	/* Of what may become longer under us, a file or a device of the host's: its bytes now. NULL: nothing of the kind. */
	uint64_t (*host_size)(struct block *block);
	struct block *inner; /* a filter's: what it stands before */
	/* The VM ends: requests that wait for the host to recover are done, with its error. Before the last drain. NULL: none ever wait. */
	void (*give_up)(struct block *block);
	/* The device's, both or none: `size` has changed. Called by block_size_set. */
	void (*resized)(void *device);
	void *device;
	struct host_mutex extending;  /* block_extend's */
	_Atomic uint64_t size;        /* bytes, a multiple of block_size; grows while in use */
	uint32_t block_size;          /* 512 or more, a power of two */
	uint64_t discard_granularity; /* 0: DISCARD and unmapping do nothing useful */
	bool discard_undefined;       /* what was discarded may read as anything, not only as zeroes or as before */
	bool readonly;
	const char *path; /* for messages */
};

/*
 * Makes what is behind a disk longer, which may take the host or a server a while: not from a vcpu's thread, and without the board's lock. The guest may use it, and sees it, after block_size_set.
 * STATUS_RANGE where the disk would become shorter: that would cut off what a guest has there. STATUS_BUSY: another thread is at it.
 */
enum status block_extend(struct block *block, uint64_t size, struct reason *why) must_check;
/* The disk is that long from now on, if it was shorter; tells the device. With the board's lock where the device may be made anew, and no lock of the device. */
void block_size_set(struct block *block, uint64_t size);
/* Both. */
enum status block_resize(struct block *block, uint64_t size, struct reason *why) must_check;
/* The whole blocks that the host has for a disk now, be they more or less than `size`; `size` if it cannot tell. */
uint64_t block_host_size(struct block *block);

/* Any thread. Out of range, misaligned, or a write to a read-only disk: done with STATUS_RANGE or STATUS_PERMISSION, never reaches the backend. */
void block_submit(struct block *block, struct block_request *list);

/*
 * For devices that submit in a loop until their queue is empty: a backend that answers at once could keep the thread, which may be a vcpu's, for ever.
 * Called before each submission with the number of rounds that the loop has made; in later ones other threads do the work, and go on with the queue.
 */
static inline void block_rounds_bound(struct block_request *list, unsigned rounds)
{
	for (; rounds >= BLOCK_ROUNDS_MAX && list; list = list->next)
		list->elsewhere = true;
}

#endif
