/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_internal.h - what the files of the vhost-user front end share.
 *
 * vhost_user.c: connecting and starting. vhost_message.c: messages on the socket. vhost_ring.c: the rings between us and the other process, and the
 * thread that hears of completions. vhost_fuse.c: what a guest hears of a file system without its server.
 */
#ifndef HOLON_BACKEND_VHOST_INTERNAL_H
#define HOLON_BACKEND_VHOST_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "backend/vhost/vhost_user.h"

#define VHOST_CONFIG_MAX 64

/* The requests that we send: vhost-user specification, "Front-end message types". */
enum vhost_message_type {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_GET_CONFIG = 24,
};

struct vhost_region {
	uint64_t gpa, size, user, offset;
};

struct vhost_message {
	uint32_t type, flags, size;
	union {
		uint64_t number;
		struct {
			uint32_t index, value;
		} ring;
		struct {
			uint32_t index, flags;
			uint64_t descriptors, used, available, log;
		} address;
		struct {
			uint32_t regions, padding;
			struct vhost_region region[2];
		} memory;
		struct {
			uint32_t offset, size, flags;
			uint8_t bytes[VHOST_CONFIG_MAX];
		} config;
	} __attribute__((packed));
} __attribute__((packed));
#define VHOST_HEADER offsetof(struct vhost_message, number)

/* What the other process sees: a split ring (virtio 1.2, 2.7) whose descriptors are indirect, a table a slot. */
struct vhost_descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};
struct vhost_ring_memory {
	struct vhost_descriptor descriptor[PEER_QUEUE_SIZE];
	struct {
		uint16_t flags, index, ring[PEER_QUEUE_SIZE], event;
	} available;
	struct {
		uint16_t flags, index;
		struct {
			uint32_t id, length;
		} ring[PEER_QUEUE_SIZE];
		uint16_t event;
	} used __attribute__((aligned(16)));
	struct vhost_descriptor table[PEER_QUEUE_SIZE][PEER_SEGMENTS];
};

struct vhost_ring {
	struct vhost_ring_memory *memory;
	uint64_t gpa; /* of `memory`, as the other process is told */
	int kick, call;
	uint16_t next_available, next_used;
	uint16_t free[PEER_QUEUE_SIZE]; /* slots; a stack */
	unsigned frees;
	struct peer_request *slot[PEER_QUEUE_SIZE];
};

struct vhost_user {
	struct peer peer;
	char *path;
	int socket;
	uint64_t offered;  /* features of the other process */
	uint64_t protocol; /* protocol features of both */
	uint8_t config[VHOST_CONFIG_MAX];
	uint8_t *ram;
	int ring_fd;
	struct vhost_ring_memory *rings;
	int stop; /* eventfd: the thread ends */
	pthread_t thread;
	bool started;
	bool refuses; /* requests that nobody serves any more, as a file system without its server (vhost_fuse.c); else they fail */
	bool reconnects; /* to whoever serves the path next: a disk's requests can be made again (vhost_ring.c) */
	int ram_fd;
	uint64_t ram_size;
	pthread_mutex_t lock; /* what follows, and the rings; a leaf */
	pthread_cond_t idle;
	struct vhost_ring ring[PEER_QUEUES_MAX];
	unsigned under_way;
	bool away; /* the other process is, and will be back: what is submitted waits in its slot */
	bool gone;
};

static inline struct vhost_user *vhost_of(struct peer *peer)
{
	return (struct vhost_user *)(void *)((uint8_t *)peer - offsetof(struct vhost_user, peer));
}

/* vhost_message.c. Sends, with `fds` descriptors; and where an answer belongs to it takes that, into the same message. */
enum status vhost_send(struct vhost_user *vhost, struct vhost_message *message, size_t size, const int *fd, unsigned fds,
		       struct reason *why) must_check;
enum status vhost_ask(struct vhost_user *vhost, struct vhost_message *message, size_t size, struct reason *why) must_check;
/* Is an answer one number? */
enum status vhost_number_whole(const struct vhost_user *vhost, const struct vhost_message *message, struct reason *why) must_check;

/* vhost_ring.c */
enum status vhost_rings_create(struct vhost_user *vhost, struct reason *why) must_check;
void vhost_rings_destroy(struct vhost_user *vhost);
/* For another process: rings in new memory, in which all that is under way is offered again. On the thread, while it is away. */
enum status vhost_rings_renew(struct vhost_user *vhost, struct reason *why) must_check;
/* It has them: what was submitted meanwhile is in them, and it is told. */
void vhost_rings_resume(struct vhost_user *vhost);
void vhost_submit(struct peer *peer, struct peer_request *list);
void *vhost_main(void *argument);

/* vhost_fuse.c. Writes an error into the answer's place; returns how many bytes. */
uint32_t vhost_fuse_refuse(const struct peer_request *request);

/* vhost_user.c. Once; on the thread, while the other process is away. */
enum status vhost_reconnect(struct vhost_user *vhost, struct reason *why) must_check;

#endif
