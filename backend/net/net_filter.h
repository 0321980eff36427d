/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_filter.h - what a guest may send to the user network: well-formed packets that the owner's policy allows. See net_filter.c.
 */
#ifndef HOLON_NET_FILTER_H
#define HOLON_NET_FILTER_H

#include <netinet/in.h>

#include <holon/config.h>
#include <holon/net.h>

#define NET_FILTER_FLOWS 64

/* Someone outside who has sent a datagram to a published port, and may be answered. */
struct net_filter_flow {
	bool ip6;
	uint8_t address[16];
	uint16_t port, guest_port;
	uint64_t expires_ns;
};

struct net_filter {
	const struct net_config *config;
	struct net_filter_flow flow[NET_FILTER_FLOWS];
	unsigned flow_next; /* the one that is replaced when all are in use */
	/* Fragments wait in the stack for the rest of their packet: how many bytes of them may. */
	uint64_t fragment_credit;
	uint64_t fragment_ns;
	bool new_flows_refused; /* the stack has as many sockets as it may have */
	_Atomic uint64_t refused;
};

void net_filter_init(struct net_filter *filter, const struct net_config *config);
/* May the stack have this frame? It is a copy that nobody changes any more. */
bool net_filter_outgoing(struct net_filter *filter, const uint8_t *frame, size_t length, uint64_t now_ns);
/* The stack sends this to the guest: notes whom the guest may answer. */
void net_filter_incoming(struct net_filter *filter, const uint8_t *frame, size_t length, uint64_t now_ns);

#endif
