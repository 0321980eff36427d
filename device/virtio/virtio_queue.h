/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_queue.h - split virtqueues (virtio 1.2, 2.7): chains out of guest memory, used elements back into it.
 *
 * Everything in the rings is the guest's and may change at any moment: each field is read once and checked as a copy. All
 * functions run under the lock of the device that owns the queue.
 */
#ifndef HOLON_VIRTIO_QUEUE_H
#define HOLON_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/block.h>
#include <holon/guest_memory.h>

#define VIRTIO_QUEUE_SIZE_MAX 1024u
/* Segments that one chain may have: what virtio_blk's seg_max promises, header and status, and a few for slot borders. */
#define VIRTIO_SEGMENTS 136
#define VIRTIO_NO_VECTOR 0xffff

struct virtio_queue {
	struct guest_memory *memory;
	uint16_t size_max;
	bool event_index; /* VIRTIO_F_EVENT_IDX was negotiated */
	bool indirect;    /* VIRTIO_F_INDIRECT_DESC was */
	/* What the driver wrote. */
	uint16_t size;
	uint16_t vector;
	uint8_t enabled;
	uint64_t descriptor; /* gpa of the three areas */
	uint64_t driver;
	uint64_t device;
	/* Where we are. */
	uint16_t next_available;
	uint16_t next_used;
	uint16_t signalled_used; /* next_used when the driver was last interrupted */
	uint8_t signalled;       /* signalled_used means something */
};

/* A request's memory: readable segments first, then writable ones (inside write brackets until the chain is released). */
struct virtio_chain {
	uint16_t head;
	uint16_t first;    /* the first segment that is not consumed yet */
	uint16_t readable; /* segments [first, readable) are to be read, [readable, segments) to be written */
	uint16_t segments;
	struct block_segment segment[VIRTIO_SEGMENTS];
	uint64_t gpa[VIRTIO_SEGMENTS];
};

enum virtio_pop {
	VIRTIO_POP_CHAIN,
	VIRTIO_POP_EMPTY,
	VIRTIO_POP_BROKEN, /* the rings make no sense: the device needs a reset */
};

/* Power-on state; memory and size_max stay. */
void virtio_queue_reset(struct virtio_queue *queue);
/* Could the three areas be served? Size, alignment and no wrapping around: memory is checked at every access. */
bool virtio_queue_plausible(const struct virtio_queue *queue);

enum virtio_pop virtio_queue_pop(struct virtio_queue *queue, struct virtio_chain *chain) must_check;
/* Ends the write brackets. Before virtio_queue_push, so that the driver sees finished data. */
void virtio_chain_release(struct virtio_queue *queue, struct virtio_chain *chain);
/* Gives the chain back with `written` bytes in its writable part. false: the ring is broken. */
bool virtio_queue_push(struct virtio_queue *queue, uint16_t head, uint32_t written) must_check;
/*
 * The same for several chains that the driver must see at once: each is put `ahead` places behind the last one that was published, then
 * `count` are published.
 */
bool virtio_queue_put(struct virtio_queue *queue, unsigned ahead, uint16_t head, uint32_t written) must_check;
bool virtio_queue_publish(struct virtio_queue *queue, unsigned count) must_check;
/* The last `count` chains that were popped are as if they never had been. They were released and not pushed. */
void virtio_queue_unpop(struct virtio_queue *queue, unsigned count);
/* After one push or many: does the driver want an interrupt for them? */
bool virtio_queue_signal_wanted(struct virtio_queue *queue);
/* The queue was found empty: asks the driver to notify at the next chain. true: one has come meanwhile. */
bool virtio_queue_arm(struct virtio_queue *queue);

uint64_t virtio_chain_readable(const struct virtio_chain *chain);
uint64_t virtio_chain_writable(const struct virtio_chain *chain);
/* Copies up to `length` bytes off the front of the readable part and consumes them. Returns how many. */
uint64_t virtio_chain_take(struct virtio_chain *chain, void *buffer, uint64_t length);
/* Consumes up to `length` bytes of the readable part without looking at them. */
void virtio_chain_skip(struct virtio_chain *chain, uint64_t length);
/* Copies up to `length` bytes to the front of the writable part. Returns how many. */
uint64_t virtio_chain_fill(struct virtio_chain *chain, const void *buffer, uint64_t length);
/* Likewise, `skip` bytes behind the front. */
uint64_t virtio_chain_fill_at(struct virtio_chain *chain, uint64_t skip, const void *buffer, uint64_t length);
/* Cuts the last writable byte off and tells where it is; the chain must have one. It leaves the bracket: write it with guest_memory_write. */
uint64_t virtio_chain_cut_last(struct virtio_queue *queue, struct virtio_chain *chain);

/* Rows of a state table for every queue in `array`, an array of struct virtio_queue in `type`. */
#define VIRTIO_QUEUE_STATE(type, array)                                                                                \
	STATE_EACH(type, array, size), STATE_EACH(type, array, vector), STATE_EACH(type, array, enabled),              \
		STATE_EACH(type, array, descriptor), STATE_EACH(type, array, driver), STATE_EACH(type, array, device), \
		STATE_EACH(type, array, next_available), STATE_EACH(type, array, next_used),                           \
		STATE_EACH(type, array, signalled_used), STATE_EACH(type, array, signalled)

#endif
