/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - a network as a device sees it: Ethernet frames with what is still to be done to them, readiness in both directions.
 *
 * The backend has one thread for each pair of queues and moves the frames itself: it takes what the guest sends and gives what the guest is to
 * receive, both by copy, so that nothing of the guest's memory is looked at twice and no frame is under way anywhere but in the guest's rings.
 * Backpressure is the guest's ring: `give` says no, and the backend reads no more from its side until it is kicked.
 */
#ifndef HOLON_NET_H
#define HOLON_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holon/host.h>
#include <holon/status.h>

#define NET_PAIRS_MAX 4
#define NET_MAC_LENGTH 6
#define NET_ETHERNET_HEADER 14u
#define NET_FRAME_MAX 65553u /* an IP packet of 65535 bytes behind an Ethernet header with a VLAN tag */
#define NET_MTU_DEFAULT 1500u
#define NET_MTU_MIN 1280u /* IPv6 needs that much */
#define NET_MTU_MAX 65535u

/* What a frame still lacks, or is known to be. Layout and meaning of virtio 1.2, 5.1.6 (struct virtio_net_hdr); tap devices have it too. */
struct net_header {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t header_length; /* a hint, never trusted */
	uint16_t gso_size;      /* payload bytes of each segment */
	uint16_t checksum_start;
	uint16_t checksum_offset;
	uint16_t buffers; /* the device's own */
};
#define NET_HEADER_NEEDS_CHECKSUM 1u /* checksum_start and _offset say where; the pseudo header's sum is in the field */
#define NET_HEADER_DATA_VALID 2u     /* the checksums are known to be right */
#define NET_GSO_NONE 0u
#define NET_GSO_TCP4 1u
#define NET_GSO_TCP6 4u
#define NET_GSO_ECN 0x80u

/* What one side takes of the other. TSO without CHECKSUM does not occur. */
#define NET_OFFLOAD_CHECKSUM 1u /* frames that need a checksum (from a backend also: known to be right) */
#define NET_OFFLOAD_TSO4 2u
#define NET_OFFLOAD_TSO6 4u
#define NET_OFFLOAD_ECN 8u

/* The device. take, give and flush run between net_enter and net_leave, on the backend's thread of the pair or in `serve`. */
struct net_frontend {
	/* Copies the next frame that the guest sends into `frame` (NET_FRAME_MAX bytes). Its length, or 0: there is none, a kick will say when. */
	size_t (*take)(void *device, unsigned pair, struct net_header *header, uint8_t *frame);
	/*
	 * A frame for the guest. false: there is no room for it now; a kick will say when. What no driver waits for, or this one cannot take, is
	 * swallowed: true.
	 */
	bool (*give)(void *device, unsigned pair, const struct net_header *header, const uint8_t *frame, size_t length);
	/* Ends a batch of at most some hundred frames: the guest hears of what was taken and given. net_leave calls it. */
	void (*flush)(void *device, unsigned pair);
	/* The cable is in, or out. */
	void (*link_set)(void *device, bool up);
	void *device;
};

struct net {
	/* The guest sends something on `pair`, or has made room. Any thread, device locks may be held; wakes the pair's thread and returns. */
	void (*kick)(struct net *net, unsigned pair);
	/*
	 * Like kick, but called without any lock by who notified: the backend may take frames off `pair` on this thread, a vcpu's perhaps, before it
	 * returns, as its own thread would. NULL: it only has kick.
	 */
	void (*serve)(struct net *net, unsigned pair);
	/* What the driver takes in received frames (NET_OFFLOAD_*), at any time. Called under the device's lock. */
	void (*receives)(struct net *net, unsigned offloads);
	/* The driver uses pairs 0 .. pairs - 1 from now on. Called under the device's lock. NULL: there is only one. */
	void (*pairs_set)(struct net *net, unsigned pairs);
	/* Threads start, and wait for a frontend. stop: they have ended, and call it no more; before the device is destroyed. */
	enum status (*start)(struct net *net, struct reason *why);
	void (*stop)(struct net *net);
	void (*close)(struct net *net);
	unsigned offloads; /* what it takes of the guest */
	unsigned gives;    /* what it has a use for in frames to the guest */
	unsigned pairs;    /* 1 .. NET_PAIRS_MAX */
	uint16_t mtu;      /* that a guest should use */
	/* Each held while a thread is in the frontend for that pair; before the device's own lock. The frontend is written under all. */
	struct host_mutex lock[NET_PAIRS_MAX];
	const struct net_frontend *frontend; /* NULL: nobody is connected; frames wait with the backend */
	_Atomic bool link_down;              /* the backend's side; written under lock[0] */
	_Atomic bool unplugged; /* the owner's wish: written under lock[0]. Devices drop what comes and goes meanwhile */
};

/* For the backend: the frontend for a batch, or NULL. net_leave in either case. */
static inline const struct net_frontend *net_enter(struct net *net, unsigned pair)
{
	host_mutex_lock(&net->lock[pair]);
	return net->frontend;
}

static inline void net_leave(struct net *net, unsigned pair)
{
	if (net->frontend)
		net->frontend->flush(net->frontend->device, pair);
	host_mutex_unlock(&net->lock[pair]);
}

/* The cable is in at both ends. */
static inline bool net_link_up(const struct net *net)
{
	return !net->link_down && !net->unplugged;
}

static inline void net_link_tell_locked(struct net *net)
{
	if (net->frontend)
		net->frontend->link_set(net->frontend->device, net_link_up(net));
}

/* For the backend: its cable is in, as it is at the beginning, or out. No lock held. */
static inline void net_link_set(struct net *net, bool up)
{
	host_mutex_lock(&net->lock[0]);
	net->link_down = !up;
	net_link_tell_locked(net);
	host_mutex_unlock(&net->lock[0]);
}

/* For the VM's owner: pulls the cable out of the guest's card, or puts it back. No lock held. */
static inline void net_unplug(struct net *net, bool out)
{
	host_mutex_lock(&net->lock[0]);
	net->unplugged = out;
	net_link_tell_locked(net);
	host_mutex_unlock(&net->lock[0]);
}

/* For the backend: net_enter if nobody is in the frontend for that pair. */
static inline bool net_enter_try(struct net *net, unsigned pair)
{
	return host_mutex_try(&net->lock[pair]);
}

/* For the device, none of its locks held: the guest has notified. */
static inline void net_serve(struct net *net, unsigned pair)
{
	if (net->serve)
		net->serve(net, pair);
	else
		net->kick(net, pair);
}

/* For the device, none of its locks held. frontend NULL disconnects: when this returns nobody is in it and nobody will be. */
static inline void net_connect(struct net *net, const struct net_frontend *frontend)
{
	unsigned pair;

	for (pair = 0; pair < net->pairs; pair++)
		host_mutex_lock(&net->lock[pair]);
	net->frontend = frontend;
	net_link_tell_locked(net);
	for (pair = net->pairs; pair-- > 0;)
		host_mutex_unlock(&net->lock[pair]);
	for (pair = 0; frontend && pair < net->pairs; pair++)
		net->kick(net, pair);
}

#endif
