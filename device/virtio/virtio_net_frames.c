/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_net_frames.c - frames off the transmit rings and onto the receive rings (virtio 1.2, 5.1.6), on the backend's threads.
 *
 * What the guest sends is copied once and checked as a copy: nothing behind `take` looks at guest memory. A frame for the guest goes into
 * one chain, or with MRG_RXBUF into as many as it needs, which the driver sees all at once.
 */
#include "virtio_net_parts.h"

#define DROPS_MAX 64u /* chains that one take may throw away before it lets others run */

/* false: no driver is up that could be served, or it does not use that pair. Without MQ it has its control queue in the place of the second one's. */
static bool session_open(struct virtio_net *net, unsigned index)
{
	struct virtio_net_ring *ring = &net->ring[index];

	if (ring->queue)
		return true;
	host_mutex_lock(&net->pci.lock);
	ring->queue = index / 2 < net->pairs_used ? virtio_pci_queue(&net->pci, index) : NULL;
	if (ring->queue) {
		virtio_pci_request_begin(&net->pci);
		ring->offloads = net->guest_offloads;
		ring->mergeable = virtio_pci_negotiated(&net->pci, VIRTIO_NET_F_MRG_RXBUF);
	}
	host_mutex_unlock(&net->pci.lock);
	return ring->queue;
}

static void session_close(struct virtio_net *net, unsigned index)
{
	struct virtio_net_ring *ring = &net->ring[index];

	if (!ring->queue)
		return;
	host_mutex_lock(&net->pci.lock);
	ring->queue = NULL;
	if (ring->used)
		virtio_pci_signal(&net->pci, index);
	ring->used = false;
	virtio_pci_request_end(&net->pci);
	host_mutex_unlock(&net->pci.lock);
}

void virtio_net_flush(void *device, unsigned pair)
{
	session_close(device, 2 * pair);
	session_close(device, 2 * pair + 1);
}

static void ring_break(struct virtio_net *net)
{
	host_mutex_lock(&net->pci.lock);
	virtio_pci_break(&net->pci, "a ring of frames is malformed");
	host_mutex_unlock(&net->pci.lock);
}

/* Where a rate stops the ring, the timer kicks when it is over. */
static bool rate_open(struct virtio_net *net, struct virtio_net_ring *ring)
{
	uint64_t now, due = 0;

	if (!ring->bytes.second && !ring->frames.second)
		return true;
	now = vm_clock_ns(net->clock);
	if (virtio_rate_open(&ring->bytes, now, &due) && virtio_rate_open(&ring->frames, now, &due))
		return true;
	host_mutex_lock(&net->pci.lock);
	if (due < net->wake_ns) {
		net->wake_ns = due;
		timer_set(&net->timer, due);
	}
	host_mutex_unlock(&net->pci.lock);
	return false;
}

static void rate_spend(struct virtio_net *net, struct virtio_net_ring *ring, size_t length)
{
	uint64_t now;

	if (!ring->bytes.second && !ring->frames.second)
		return;
	now = vm_clock_ns(net->clock);
	virtio_rate_spend(&ring->bytes, now, length);
	virtio_rate_spend(&ring->frames, now, 1);
}

static bool pop(struct virtio_net *net, struct virtio_net_ring *ring, struct virtio_chain *chain)
{
	enum virtio_pop popped = virtio_queue_pop(ring->queue, chain);

	/* The driver may have added a chain between our look and our wish to be notified; then it notified nobody. */
	if (popped == VIRTIO_POP_EMPTY && virtio_queue_arm(ring->queue)) {
		popped = virtio_queue_pop(ring->queue, chain);
		if (popped == VIRTIO_POP_EMPTY) /* added and taken back: looked at again, after others */
			net->backend->kick(net->backend, (unsigned)(ring - net->ring) / 2);
	}
	if (popped == VIRTIO_POP_BROKEN)
		ring_break(net);
	return popped == VIRTIO_POP_CHAIN;
}

/* 5.1.6.2. Is what the driver says of its frame something that it may say? Then backends need not ask again. */
static bool header_plausible(const struct virtio_net *net, const struct net_header *header, size_t length)
{
	uint64_t features = net->pci.driver_features;
	uint8_t kind = header->gso_type & (uint8_t)~NET_GSO_ECN;

	if (header->flags & NET_HEADER_NEEDS_CHECKSUM) {
		if (!(features & VIRTIO_NET_F_CSUM) || header->checksum_start < NET_ETHERNET_HEADER ||
		    (uint32_t)header->checksum_start + header->checksum_offset + 2 > length)
			return false;
	}
	if (header->gso_type & NET_GSO_ECN && !(features & VIRTIO_NET_F_HOST_ECN))
		return false;
	if (kind == NET_GSO_NONE)
		return header->gso_type == NET_GSO_NONE;
	if (!(header->flags & NET_HEADER_NEEDS_CHECKSUM) || !header->gso_size)
		return false;
	return (kind == NET_GSO_TCP4 && features & VIRTIO_NET_F_HOST_TSO4) ||
	       (kind == NET_GSO_TCP6 && features & VIRTIO_NET_F_HOST_TSO6);
}

/* Header and frame out of the chain. 0: it is none that could be sent. */
static size_t chain_copy(const struct virtio_net *net, struct virtio_chain *chain, struct net_header *header, uint8_t *frame)
{
	uint64_t length = virtio_chain_readable(chain);

	if (length < sizeof(*header) + NET_ETHERNET_HEADER || length > sizeof(*header) + NET_FRAME_MAX)
		return 0;
	virtio_chain_take(chain, header, sizeof(*header));
	length = virtio_chain_take(chain, frame, NET_FRAME_MAX);
	header->flags &= NET_HEADER_NEEDS_CHECKSUM;
	header->buffers = 0;
	return header_plausible(net, header, length) ? length : 0;
}

size_t virtio_net_take(void *device, unsigned pair, struct net_header *header, uint8_t *frame)
{
	struct virtio_net *net = device;
	struct virtio_net_ring *ring = &net->ring[2 * pair + 1];
	unsigned left = DROPS_MAX;

	if (!session_open(net, 2 * pair + 1) || !rate_open(net, ring))
		return 0;
	while (pop(net, ring, &ring->first)) {
		size_t length = chain_copy(net, &ring->first, header, frame);

		virtio_chain_release(ring->queue, &ring->first);
		if (!virtio_queue_push(ring->queue, ring->first.head, 0)) {
			ring_break(net);
			return 0;
		}
		ring->used = true;
		rate_spend(net, ring, length);
		if (length && !net->backend->unplugged)
			return length;
		__atomic_fetch_add(&net->dropped, 1, __ATOMIC_RELAXED);
		if (!--left) {
			net->backend->kick(net->backend, pair);
			return 0;
		}
	}
	return 0;
}

/* What the driver can make of the header; false: it cannot take the frame at all (offloads that it has given up just now). */
static bool header_adapt(const struct virtio_net_ring *ring, const struct net_header *header, struct net_header *adapted)
{
	uint8_t kind = header->gso_type & (uint8_t)~NET_GSO_ECN;

	*adapted = *header;
	adapted->buffers = 1;
	if (!(ring->offloads & VIRTIO_NET_F_GUEST_CSUM)) {
		adapted->flags &= (uint8_t)~NET_HEADER_DATA_VALID;
		if (adapted->flags & NET_HEADER_NEEDS_CHECKSUM)
			return false;
	}
	if (header->gso_type & NET_GSO_ECN && !(ring->offloads & VIRTIO_NET_F_GUEST_ECN))
		return false;
	return kind == NET_GSO_NONE || (kind == NET_GSO_TCP4 && ring->offloads & VIRTIO_NET_F_GUEST_TSO4) ||
	       (kind == NET_GSO_TCP6 && ring->offloads & VIRTIO_NET_F_GUEST_TSO6);
}

enum filled { FILLED, FILLED_NOT, FILLED_NEVER };

/* Gives back `count` chains that were popped for a frame and got none; what was written to them, the driver never looks at. */
static enum filled fill_undo(struct virtio_net_ring *ring, unsigned count, enum filled result)
{
	virtio_queue_unpop(ring->queue, count);
	return result;
}

/* The frame behind the first chain, which has taken `done` bytes of it, into further ones. *count: chains popped so far. */
static enum filled fill_rest(struct virtio_net *net, struct virtio_net_ring *ring, const uint8_t *frame, size_t length, size_t done,
			     unsigned *count)
{
	while (done < length) {
		uint64_t here;

		if (*count == ring->queue->size)
			return FILLED_NEVER; /* all memory that the driver has offered is too little */
		if (!pop(net, ring, &ring->next))
			return FILLED_NOT;
		here = virtio_chain_fill(&ring->next, frame + done, length - done);
		virtio_chain_release(ring->queue, &ring->next);
		if (!virtio_queue_put(ring->queue, (*count)++, ring->next.head, (uint32_t)here)) {
			ring_break(net);
			return FILLED_NEVER;
		}
		done += here;
	}
	return FILLED;
}

static enum filled fill(struct virtio_net *net, struct virtio_net_ring *ring, struct net_header *header, const uint8_t *frame,
			size_t length)
{
	struct virtio_chain *first = &ring->first;
	enum filled filled = FILLED;
	unsigned count = 1;
	uint64_t room, here;

	if (!pop(net, ring, first))
		return FILLED_NOT;
	room = virtio_chain_writable(first);
	if (room < sizeof(*header) || (!ring->mergeable && room < sizeof(*header) + length)) {
		/* Too small for what may come (5.1.6.3.1): the driver gets it back empty, or it would block the ring for ever. */
		virtio_chain_release(ring->queue, first);
		if (!virtio_queue_push(ring->queue, first->head, 0))
			ring_break(net);
		ring->used = true;
		return FILLED_NEVER;
	}
	here = virtio_chain_fill_at(first, sizeof(*header), frame, length);
	filled = fill_rest(net, ring, frame, length, here, &count);
	header->buffers = (uint16_t)count;
	virtio_chain_fill(first, header, sizeof(*header));
	virtio_chain_release(ring->queue, first);
	if (filled != FILLED)
		return fill_undo(ring, count, filled);
	if (!virtio_queue_put(ring->queue, 0, first->head, (uint32_t)(here + sizeof(*header))) ||
	    !virtio_queue_publish(ring->queue, count)) {
		ring_break(net);
		return FILLED_NEVER;
	}
	return FILLED;
}

bool virtio_net_give(void *device, unsigned pair, const struct net_header *header, const uint8_t *frame, size_t length)
{
	struct virtio_net *net = device;
	struct virtio_net_ring *ring = &net->ring[2 * pair];
	struct net_header adapted;

	if (!session_open(net, 2 * pair))
		return true;
	if (!rate_open(net, ring))
		return false;
	if (net->backend->unplugged || length > NET_FRAME_MAX || !header_adapt(ring, header, &adapted)) {
		__atomic_fetch_add(&net->dropped, 1, __ATOMIC_RELAXED);
		return true;
	}
	switch (fill(net, ring, &adapted, frame, length)) {
	case FILLED_NOT: return false;
	case FILLED_NEVER: __atomic_fetch_add(&net->dropped, 1, __ATOMIC_RELAXED); return true;
	default: break;
	}
	ring->used = true;
	rate_spend(net, ring, length);
	return true;
}
