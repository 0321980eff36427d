/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_net_parts.h - struct virtio_net, for the files that it is made of: virtio_net.c (life, configuration, saved state), virtio_net_frames.c
 * (frames to and from the rings), virtio_net_control.c (the control queue).
 *
 * A ring that carries frames is served in *sessions*: the backend's thread opens one at the first frame of a batch, under the lock and counted as a
 * request under way, and flush closes it. In between that thread has the ring to itself without any lock: resets wait for its end, quiesce does (through
 * net_connect), and the driver's registers of an enabled queue stand still.
 */
#ifndef HOLON_VIRTIO_NET_PARTS_H
#define HOLON_VIRTIO_NET_PARTS_H

#include "virtio_net.h"
#include "virtio_pci.h"
#include "virtio_rate.h"

#define VIRTIO_NET_F_CSUM (UINT64_C(1) << 0)
#define VIRTIO_NET_F_GUEST_CSUM (UINT64_C(1) << 1)
#define VIRTIO_NET_F_CTRL_GUEST_OFFLOADS (UINT64_C(1) << 2)
#define VIRTIO_NET_F_MTU (UINT64_C(1) << 3)
#define VIRTIO_NET_F_MAC (UINT64_C(1) << 5)
#define VIRTIO_NET_F_GUEST_TSO4 (UINT64_C(1) << 7)
#define VIRTIO_NET_F_GUEST_TSO6 (UINT64_C(1) << 8)
#define VIRTIO_NET_F_GUEST_ECN (UINT64_C(1) << 9)
#define VIRTIO_NET_F_HOST_TSO4 (UINT64_C(1) << 11)
#define VIRTIO_NET_F_HOST_TSO6 (UINT64_C(1) << 12)
#define VIRTIO_NET_F_HOST_ECN (UINT64_C(1) << 13)
#define VIRTIO_NET_F_MRG_RXBUF (UINT64_C(1) << 15)
#define VIRTIO_NET_F_STATUS (UINT64_C(1) << 16)
#define VIRTIO_NET_F_CTRL_VQ (UINT64_C(1) << 17)
#define VIRTIO_NET_F_GUEST_ANNOUNCE (UINT64_C(1) << 21)
#define VIRTIO_NET_F_MQ (UINT64_C(1) << 22)
/* What CTRL_GUEST_OFFLOADS may switch. */
#define VIRTIO_NET_GUEST_OFFLOADS \
	(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN)

#define VIRTIO_NET_QUEUE_SIZE 256
#define VIRTIO_NET_RINGS (2 * NET_PAIRS_MAX)

/* One ring that carries frames. Between open and flush the pair's thread's; else under pci.lock. */
struct virtio_net_ring {
	struct virtio_queue *queue; /* of the open session; NULL: there is none */
	bool used;                  /* the driver has something to hear of */
	uint64_t offloads;          /* guest_offloads when the session began */
	bool mergeable;
	struct virtio_rate bytes, frames;
	struct virtio_chain first, next;
};

struct virtio_net {
	struct virtio_pci pci;
	struct net *backend;
	struct net_frontend frontend;
	struct vm_clock *clock;
	struct timer timer; /* a rate allows more: kicks */
	bool connected;     /* between resume and quiesce */
	uint8_t mac[NET_MAC_LENGTH];
	/* Under pci.lock. */
	uint64_t guest_offloads; /* VIRTIO_NET_F_GUEST_*: what the driver takes now */
	uint64_t wake_ns;        /* what the timer is set to; UINT64_MAX: it is not */
	uint16_t pairs_used;
	uint8_t link_down;
	uint8_t announce;
	uint64_t dropped; /* frames that were neither taken nor given */
	struct virtio_chain control_chain;
	struct virtio_net_ring ring[VIRTIO_NET_RINGS]; /* as queues are numbered: 2 * pair receives, 2 * pair + 1 transmits */
};

/* virtio_net_frames.c: the backend's calls. */
size_t virtio_net_take(void *device, unsigned pair, struct net_header *header, uint8_t *frame);
bool virtio_net_give(void *device, unsigned pair, const struct net_header *header, const uint8_t *frame, size_t length);
void virtio_net_flush(void *device, unsigned pair);

/* virtio_net_control.c: serves the control queue, under the lock. */
void virtio_net_control(struct virtio_net *net, unsigned index);

/* virtio_net.c, under the lock: guest_offloads and pairs_used have changed. */
void virtio_net_backend_tell(struct virtio_net *net);
/* Under the lock or without it. */
void virtio_net_kick_all(struct virtio_net *net);

#endif
