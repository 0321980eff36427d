/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - a virtio device that another process serves: what the device in front (device/virtio/virtio_peer.c) asks of the backend behind it.
 *
 * The guest's rings stay ours: the device takes chains off them, the backend offers them to its process in rings of its own, and what comes back
 * goes through the device again. So writes of the other process into guest memory are inside write brackets as all others are: pages become dirty,
 * translated code is dropped, before the guest can see the completion.
 */
#ifndef HOLON_PEER_H
#define HOLON_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/block.h>
#include <holon/status.h>

#define PEER_QUEUE_SIZE 128u
#define PEER_SEGMENTS 136u
#define PEER_QUEUES_MAX 4u

/* One chain. The device's until submit and again from `done` on. Segments point into guest RAM. */
struct peer_request {
	unsigned queue;
	const struct block_segment *segment; /* [0, readable) are read, [readable, segments) written */
	unsigned readable;
	unsigned segments;
	/* Once, on the peer's thread, with no lock of it held. STATUS_IO: the peer has gone, and the chain was served in part or not at all. */
	void (*done)(struct peer_request *request, uint32_t written, enum status status);
	void *device;
	struct peer_request *next; /* the next of the batch */
};

struct peer {
	const char *name;       /* "virtio-fs": the device */
	const char *path;       /* for messages */
	uint16_t type;          /* virtio device type (virtio 1.2, 5) */
	uint32_t class_code;    /* PCI */
	uint64_t features;      /* the device's own that the peer serves; none of the transport's or the rings' */
	unsigned queues;        /* 1..PEER_QUEUES_MAX */
	unsigned config_length; /* at most 64 */
	const uint8_t *config;
	const char *obstacle; /* why its VM cannot be saved or migrated; NULL: it can */
	/* Any thread. At most PEER_QUEUE_SIZE requests a queue are under way. */
	void (*submit)(struct peer *peer, struct peer_request *list);
	/* Waits until no request is under way. */
	void (*drain)(struct peer *peer);
	void (*close)(struct peer *peer);
};

#endif
