/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_net_control.c - the control queue (virtio 1.2, 5.1.6.5): number of pairs, offloads of received frames, the announcement's end.
 */
#include "virtio_net_parts.h"

#define CLASS_ANNOUNCE 3
#define ANNOUNCE_ACK 0
#define CLASS_MQ 4
#define MQ_VQ_PAIRS_SET 0
#define CLASS_GUEST_OFFLOADS 5
#define GUEST_OFFLOADS_SET 0
#define CONTROL_OK 0
#define CONTROL_ERR 1

struct control_header {
	uint8_t class;
	uint8_t command;
};

static bool pairs_set(struct virtio_net *net, struct virtio_chain *chain)
{
	uint16_t pairs;

	if (!virtio_pci_negotiated(&net->pci, VIRTIO_NET_F_MQ) ||
	    virtio_chain_take(chain, &pairs, sizeof(pairs)) != sizeof(pairs) || pairs == 0 || pairs > net->backend->pairs)
		return false;
	net->pairs_used = pairs;
	return true;
}

/* Only what was negotiated may be switched (5.1.6.5.6.2). */
static bool offloads_set(struct virtio_net *net, struct virtio_chain *chain)
{
	uint64_t offloads;

	if (!virtio_pci_negotiated(&net->pci, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    virtio_chain_take(chain, &offloads, sizeof(offloads)) != sizeof(offloads) ||
	    offloads & ~(net->pci.driver_features & VIRTIO_NET_GUEST_OFFLOADS))
		return false;
	net->guest_offloads = offloads;
	return true;
}

static bool announce_ack(struct virtio_net *net)
{
	if (!virtio_pci_negotiated(&net->pci, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	net->announce = 0;
	net->pci.config_generation++;
	return true;
}

static bool command_do(struct virtio_net *net, struct virtio_chain *chain)
{
	struct control_header header;

	if (virtio_chain_take(chain, &header, sizeof(header)) != sizeof(header))
		return false;
	if (header.class == CLASS_MQ && header.command == MQ_VQ_PAIRS_SET)
		return pairs_set(net, chain);
	if (header.class == CLASS_GUEST_OFFLOADS && header.command == GUEST_OFFLOADS_SET)
		return offloads_set(net, chain);
	if (header.class == CLASS_ANNOUNCE && header.command == ANNOUNCE_ACK)
		return announce_ack(net);
	return false;
}

static void commands_serve(struct virtio_net *net, unsigned index)
{
	struct virtio_queue *queue = virtio_pci_queue(&net->pci, index);
	struct virtio_chain *chain = &net->control_chain;
	unsigned left = queue ? queue->size : 0;

	/* Bounded, and each command may have broken the device. */
	while (left-- && virtio_pci_queue(&net->pci, index)) {
		enum virtio_pop pop = virtio_queue_pop(queue, chain);
		uint8_t answer;

		if (pop == VIRTIO_POP_EMPTY && !virtio_queue_arm(queue))
			return;
		if (pop == VIRTIO_POP_EMPTY)
			continue;
		if (pop == VIRTIO_POP_BROKEN || virtio_chain_writable(chain) == 0) {
			if (pop == VIRTIO_POP_CHAIN)
				virtio_chain_release(queue, chain);
			virtio_pci_break(&net->pci, "a control command is malformed");
			return;
		}
		answer = command_do(net, chain) ? CONTROL_OK : CONTROL_ERR;
		virtio_chain_fill(chain, &answer, sizeof(answer));
		virtio_pci_complete(&net->pci, index, chain, sizeof(answer));
	}
}

/* The backend hears of all commands at once: a change may take it its time. No session begins before that. */
void virtio_net_control(struct virtio_net *net, unsigned index)
{
	uint64_t offloads = net->guest_offloads;
	uint16_t pairs = net->pairs_used;

	commands_serve(net, index);
	if (net->guest_offloads == offloads && net->pairs_used == pairs)
		return;
	virtio_net_backend_tell(net);
	virtio_net_kick_all(net); /* a pair may have been notified of before it was used */
}
