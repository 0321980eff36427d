/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_fixture.h - a network card that a test plays: frames that it sends, frames that it got. Any thread.
 */
#ifndef HOLON_TEST_NET_FIXTURE_H
#define HOLON_TEST_NET_FIXTURE_H

#include <pthread.h>

#include <holon/net.h>

#define NET_CARD_FRAMES 64

struct net_card_frame {
	struct net_header header;
	size_t length;
	uint8_t bytes[NET_FRAME_MAX];
};

struct net_card {
	struct net *net;
	struct net_frontend frontend;
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t changed;
	struct net_card_frame *out, *in; /* rings */
	unsigned sent, taken, given, read;
	bool full; /* it has no room: give says no */
	bool up;
};

/* Connects to `net`, which it starts, takes offloads as said. */
void net_card_create(struct net_card *card, struct net *net, unsigned receives);
/* Stops and closes the network too. */
void net_card_destroy(struct net_card *card);
void net_card_send(struct net_card *card, const struct net_header *header, const void *bytes, size_t length);
/* The next frame that has come in, waited for; NULL: none came in 10 s. */
const struct net_card_frame *net_card_receive(struct net_card *card);
/* Nothing has come in that was not read; only after something that came later was awaited. */
bool net_card_empty(struct net_card *card);
void net_card_full_set(struct net_card *card, bool full);

#endif
