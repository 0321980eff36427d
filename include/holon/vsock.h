/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock.h - sockets between guest and host, as a device sees them: packets in both directions (virtio 1.2, 5.10.6).
 *
 * The backend has a thread and all connections; it takes the packets that the guest sends and gives those that the guest is to receive, both by
 * copy. Connections do not survive a move of the VM: the device tells the driver so when it is resumed.
 */
#ifndef HOLON_VSOCK_H
#define HOLON_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/host.h>
#include <holon/status.h>

#define VSOCK_HOST_CID 2u
#define VSOCK_CID_MIN 3u
#define VSOCK_CID_MAX 0xfffffffeu
#define VSOCK_PAYLOAD_MAX 65536u

/* In guest memory just so, little-endian. */
struct vsock_header {
	uint64_t source_cid, target_cid;
	uint32_t source_port, target_port;
	uint32_t length;
	uint16_t type;
	uint16_t operation;
	uint32_t flags;
	uint32_t buffer_size; /* of the sender's, for this connection */
	uint32_t forwarded;   /* bytes that have left that buffer, modulo 2^32 */
} __attribute__((packed));

enum { VSOCK_STREAM = 1 };
enum { VSOCK_REQUEST = 1, VSOCK_RESPONSE, VSOCK_RST, VSOCK_SHUTDOWN, VSOCK_RW, VSOCK_CREDIT_UPDATE, VSOCK_CREDIT_REQUEST };
#define VSOCK_SHUTDOWN_RECEIVE 1u
#define VSOCK_SHUTDOWN_SEND 2u

/* The device. On the backend's thread, between vsock_enter and vsock_leave. */
struct vsock_frontend {
	/* The next packet that the guest sends; payload has VSOCK_PAYLOAD_MAX bytes. false: there is none, a kick will say when. */
	bool (*take)(void *device, struct vsock_header *header, uint8_t *payload);
	/* A packet for the guest. false: no room now, a kick will say when. *given: how much of the payload fitted; the rest is another packet's. */
	bool (*give)(void *device, const struct vsock_header *header, const uint8_t *payload, uint32_t *given);
	void *device;
};

struct vsock {
	/* The guest sends something or has made room. Any thread, device locks may be held. */
	void (*kick)(struct vsock *vsock);
	/* Every connection ends, with no word to the guest: its driver starts anew. Likewise. */
	void (*reset)(struct vsock *vsock);
	enum status (*start)(struct vsock *vsock, struct reason *why);
	void (*stop)(struct vsock *vsock); /* its thread has ended; before the device is destroyed */
	void (*close)(struct vsock *vsock);
	uint64_t guest_cid;
	struct host_mutex lock; /* held while the thread is in the frontend; before the device's own */
	const struct vsock_frontend *frontend;
};

static inline const struct vsock_frontend *vsock_enter(struct vsock *vsock)
{
	host_mutex_lock(&vsock->lock);
	return vsock->frontend;
}

static inline void vsock_leave(struct vsock *vsock)
{
	host_mutex_unlock(&vsock->lock);
}

/* For the device, none of its locks held. frontend NULL: when this returns nobody is in it and nobody will be. */
static inline void vsock_connect(struct vsock *vsock, const struct vsock_frontend *frontend)
{
	host_mutex_lock(&vsock->lock);
	vsock->frontend = frontend;
	host_mutex_unlock(&vsock->lock);
	vsock->kick(vsock);
}

#endif
