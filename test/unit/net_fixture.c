/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_fixture.c - see net_fixture.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "net_fixture.h"

static size_t card_take(void *device, unsigned pair, struct net_header *header, uint8_t *frame)
{
	struct net_card *card = device;
	size_t length = 0;

	(void)pair;
	pthread_mutex_lock(&card->lock);
	if (card->taken != card->sent) {
		struct net_card_frame *next = &card->out[card->taken++ % NET_CARD_FRAMES];

		*header = next->header;
		length = next->length;
		memcpy(frame, next->bytes, length);
		pthread_cond_broadcast(&card->changed);
	}
	pthread_mutex_unlock(&card->lock);
	return length;
}

static bool card_give(void *device, unsigned pair, const struct net_header *header, const uint8_t *frame, size_t length)
{
	struct net_card *card = device;
	bool room;

	(void)pair;
	pthread_mutex_lock(&card->lock);
	room = !card->full && card->given - card->read < NET_CARD_FRAMES;
	if (room) {
		struct net_card_frame *next = &card->in[card->given++ % NET_CARD_FRAMES];

		next->header = *header;
		next->length = length;
		memcpy(next->bytes, frame, length);
		pthread_cond_broadcast(&card->changed);
	}
	pthread_mutex_unlock(&card->lock);
	return room;
}

static void card_flush(void *device, unsigned pair)
{
	(void)device, (void)pair;
}

static void card_link_set(void *device, bool up)
{
	struct net_card *card = device;

	pthread_mutex_lock(&card->lock);
	card->up = up;
	pthread_mutex_unlock(&card->lock);
}

void net_card_create(struct net_card *card, struct net *net, unsigned receives)
{
	struct reason why = {""};

	memset(card, 0, sizeof(*card));
	card->net = net;
	card->frontend = (struct net_frontend){card_take, card_give, card_flush, card_link_set, card};
	card->out = calloc(NET_CARD_FRAMES, sizeof(*card->out));
	card->in = calloc(NET_CARD_FRAMES, sizeof(*card->in));
	pthread_mutex_init(&card->lock, NULL);
	pthread_cond_init(&card->changed, NULL);
	net->receives(net, receives);
	if (net->start(net, &why) != STATUS_OK)
		fail_msg("%s", why.text);
	net_connect(net, &card->frontend);
}

void net_card_destroy(struct net_card *card)
{
	net_connect(card->net, NULL);
	card->net->stop(card->net);
	card->net->close(card->net);
	pthread_cond_destroy(&card->changed);
	pthread_mutex_destroy(&card->lock);
	free(card->out);
	free(card->in);
}

void net_card_send(struct net_card *card, const struct net_header *header, const void *bytes, size_t length)
{
	struct net_card_frame *next;

	pthread_mutex_lock(&card->lock);
	while (card->sent - card->taken == NET_CARD_FRAMES)
		pthread_cond_wait(&card->changed, &card->lock);
	next = &card->out[card->sent++ % NET_CARD_FRAMES];
	next->header = *header;
	next->length = length;
	memcpy(next->bytes, bytes, length);
	pthread_mutex_unlock(&card->lock);
	if (card->sent & 1)
		card->net->kick(card->net, 0);
	else
		net_serve(card->net, 0); /* by the sender itself, where the backend can */
}

const struct net_card_frame *net_card_receive(struct net_card *card)
{
	const struct net_card_frame *frame = NULL;
	struct timespec until;
	int error = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&card->lock);
	while (card->read == card->given && !error)
		error = pthread_cond_timedwait(&card->changed, &card->lock, &until);
	if (card->read != card->given)
		frame = &card->in[card->read++ % NET_CARD_FRAMES];
	pthread_mutex_unlock(&card->lock);
	card->net->kick(card->net, 0);
	return frame;
}

bool net_card_empty(struct net_card *card)
{
	bool empty;

	pthread_mutex_lock(&card->lock);
	empty = card->read == card->given;
	pthread_mutex_unlock(&card->lock);
	return empty;
}

void net_card_full_set(struct net_card *card, bool full)
{
	pthread_mutex_lock(&card->lock);
	card->full = full;
	pthread_mutex_unlock(&card->lock);
	card->net->kick(card->net, 0);
}
